-- Selections of a cluster that is not there.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: kept_selections, kept_clusters
select s.run_id, s.selection_id, s.cluster_run_id, s.cluster_id
from kept_selections s
anti join kept_clusters c on c.run_id = s.cluster_run_id and c.cluster_id = s.cluster_id
where s.cluster_run_id is not null and s.cluster_id is not null
