-- For each step, the run that later steps and views build on: the one that finished, or was made current again, last.
-- key: step
-- step: the step
-- run_id: the current run of the step
-- needs: run_order
select step, arg_max(run_id, sequence) as run_id from detail.run_order group by step
