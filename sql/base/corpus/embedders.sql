-- The text encoders of this workspace. Each has its own table of vectors in `lance/`, which SQL does not show.
-- key: run_id
-- run_id: the run that fitted or registered the encoder, see `runs`
-- name: the embedder's name, which its table of vectors has too
-- model: the model, as in `synalign.toml`
-- dimensions: length of a vector; null where the model decides it
-- fitted_on: whose texts it was fitted to: `real` and `synthetic` records, `document`; empty for a model that is used
--     as it is
-- texts: how many texts it was fitted to
-- needs: runs
select e.run_id, e.name, e.model, e.dimensions, e.fitted_on, e.texts
from raw_embedders e join main.runs r on r.run_id = e.run_id
