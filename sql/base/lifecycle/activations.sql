-- Finished runs that were gone back to: a step that is asked for what it did before makes that run the current one
-- again.
-- key: sequence
-- sequence: its place among runs and activations, see `run_order`
-- step: the step
-- run_id: the run that was gone back to
-- activated_at: when, UTC
-- needs: runs
select a.sequence, a.step, a.run_id, a.at as activated_at from raw_activations a join main.runs r on r.run_id = a.run_id
