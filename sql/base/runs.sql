-- Every finished run of a step. A run's rows are seen in all other relations once it stands here.
-- run_id: a hash of step, parameters, seed and the run_ids in inputs
-- sequence: the order in which runs finished
-- started_at, finished_at: UTC
-- parameters, counts, table_versions: JSON
-- needs:
select * from raw_runs
