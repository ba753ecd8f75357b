-- The synthetic records that were written for selections in which a real record was shown, heaviest first.
-- needs: synthetic, selections, synthetic_weighted
select y.id, y.label, w.weight, y.text, y.selection_id
from detail.selections s
join main.synthetic y on y.selection_id = s.selection_id
left join main.synthetic_weighted w on w.id = y.id
where $origin = 'real' and list_contains(s.demonstrations, $id)
order by w.weight desc nulls last, y.id
