-- Runs that were made of a run that is not there, and was not taken away with records that were forgotten since.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: raw_runs
select i.run_id, i.step, i.input
from (select run_id, step, sequence, unnest(inputs) as input from raw_runs) i
anti join raw_runs r on r.run_id = i.input
where not exists (from forgettings f where f.sequence > i.sequence)
