-- For each step, the run that later steps and views build on: finished, or gone back to, last.
-- needs: runs
select step, arg_max(run_id, sequence) as run_id
from (
    select step, run_id, sequence from runs
    union all
    select a.step, a.run_id, a.sequence from raw_activations a join runs r on r.run_id = a.run_id
)
group by step
