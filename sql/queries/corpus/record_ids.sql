-- The records whose id is, or begins with, what was given; one that is it exactly comes first.
-- needs: real, synthetic
select origin, id
from (select 'real' as origin, id from main.real union all select 'synthetic', id from main.synthetic)
where id = $id or starts_with(id, $id)
order by id <> $id, id, origin
limit 21
