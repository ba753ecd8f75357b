-- The order in which runs finished or were made current again.
-- key: run_id
-- run_id: the run
-- step: step of the run
-- sequence: place in the order; the largest of a step is its current run, and the largest of a weight set's runs the
--     one that the name stands for
-- needs: runs
select r.run_id, r.step, max(u.sequence) as sequence
from main.runs r
join (
    select run_id, sequence from main.runs
    union all
    select run_id, sequence from raw_activations
) u on u.run_id = r.run_id
group by r.run_id, r.step
