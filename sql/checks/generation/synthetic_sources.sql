-- Generated records of a call, a selection or attributes that are not there.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: kept_synthetic, kept_selections, kept_attributes, all_calls
select s.id, s.call_id, s.selection_id, s.attributes_id
from kept_synthetic s
left join (select distinct call_id from all_calls) c on c.call_id = s.call_id
left join (select distinct selection_id from kept_selections) p on p.selection_id = s.selection_id
left join (select distinct id from kept_attributes) a on a.id = s.attributes_id
where (s.call_id is not null and c.call_id is null)
    or (s.selection_id is not null and p.selection_id is null)
    or (s.attributes_id is not null and a.id is null)
