-- Embedders that finished and have no row of their own, without which no step can start.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: raw_runs, kept_embedders
select run_id
from raw_runs
where step = 'embedder' and run_id not in (select run_id from kept_embedders)
