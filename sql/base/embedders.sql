-- The encoders of this workspace, each with its own table of vectors in lance/.
-- needs: runs
select e.run_id, e.name, e.model, e.dimensions, e.fitted_on, e.texts
from raw_embedders e join runs r on r.run_id = e.run_id
