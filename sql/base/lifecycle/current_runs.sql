-- For each step, the run that later steps and views build on: finished, or gone back to, last.
-- key: step
-- step: the step
-- run_id: its current run
-- needs: run_order
select step, arg_max(run_id, sequence) as run_id from detail.run_order group by step
