-- Annotations of a record that is not there.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: kept_annotations, records
select a.run_id, a.origin, a.id, a.name
from kept_annotations a
anti join records r on r.origin = a.origin and r.id = a.id
where not exists (from forgettings f join raw_runs u on u.run_id = a.run_id where f.sequence > u.sequence)
