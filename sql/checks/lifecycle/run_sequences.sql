-- Runs and activations that share a place in the order of things, or have none.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: raw_runs, raw_activations
select sequence, count(*) as times, min(run_id) as run_id
from (select sequence, run_id from raw_runs union all select sequence, run_id from raw_activations)
group by sequence
having count(*) > 1 or sequence is null
