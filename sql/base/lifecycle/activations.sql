-- Finished runs that were made current again, because a step was asked for exactly what it had done before.
-- key: sequence
-- sequence: place in the order of runs and activations, see `run_order`
-- step: step of the run
-- run_id: the run that was made current again
-- activated_at: when it was made current again, UTC
-- needs: runs
select a.sequence, a.step, a.run_id, a.at as activated_at from raw_activations a join main.runs r on r.run_id = a.run_id
