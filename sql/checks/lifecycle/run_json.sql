-- Runs whose parameters, counts or table versions are no JSON.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: raw_runs
select run_id, step
from raw_runs
where not coalesce(json_valid(parameters) and json_valid(counts) and json_valid(table_versions), false)
