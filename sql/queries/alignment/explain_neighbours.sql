-- The nearest other real training record, where the record was in the sample that was measured last.
-- needs: neighbours, real, run_order
select k.neighbour_id as id, k.neighbour_label as label, k.similarity, r.text
from detail.neighbours k
join detail.run_order o on o.run_id = k.run_id
join main.real r on r.id = k.neighbour_id
where k.origin = $origin and k.id = $id
order by o.sequence desc
limit 1
