-- The attributes that a synthetic record was written from, and those that were stated of the record itself.
-- needs: attributes, attribute_values, annotations, synthetic
select 'written from' as of_what, n.unnest.name as name, n.unnest.value as value, a.call_id
from main.synthetic y join detail.attributes a on a.id = y.attributes_id, unnest(a.attributes) n
where y.id = $id and $origin = 'synthetic'
union all
select 'stated of it', name, value, call_id from detail.annotations where origin = $origin and id = $id
