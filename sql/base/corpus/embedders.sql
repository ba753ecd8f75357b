-- The encoders of this workspace. Each has its own table of vectors in `lance/`, which SQL does not show.
-- key: run_id
-- run_id: the run that wrote the row, see `runs`
-- name: the embedder's name, and that of its vectors
-- model: the model, as in `synalign.toml`
-- dimensions: vector length; null where the model has its own
-- fitted_on: what it was fitted to: texts of `real` and `synthetic` records, and of a `document`; empty for a fixed
--     model
-- texts: how many texts it was fitted to
-- needs: runs
select e.run_id, e.name, e.model, e.dimensions, e.fitted_on, e.texts
from raw_embedders e join main.runs r on r.run_id = e.run_id
