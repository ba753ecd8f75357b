-- The real records that the language model was shown for a synthetic one, in their order.
-- needs: selections, synthetic, real
select r.id, r.label, r.text
from main.synthetic y
join detail.selections s on s.selection_id = y.selection_id, unnest(s.demonstrations) with ordinality as d(id, position)
join main.real r on r.id = d.id
where y.id = $id and $origin = 'synthetic'
order by d.position
