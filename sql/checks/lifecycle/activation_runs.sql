-- Activations of a run that never finished, or of another step than the run's.
-- cure: delete the activation, or restore the workspace from a copy
-- needs: raw_runs, raw_activations
select a.sequence, a.step, a.run_id
from raw_activations a
left join raw_runs r on r.run_id = a.run_id
where r.run_id is null or r.step is distinct from a.step
