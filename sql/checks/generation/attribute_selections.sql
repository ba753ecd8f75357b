-- Attributes of a selection that is not there.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: kept_attributes, kept_selections
select run_id, id, selection_id
from kept_attributes
where selection_id is not null and selection_id not in (select selection_id from kept_selections where selection_id is not null)
