-- The current clusters of the real training records. `size`, `label_mix`, `purity`, `silhouette` and `radius` describe
-- the training records at the time of clustering; `cluster_members` also has records that were assigned later.
-- key: cluster_id
-- run_id: the run of `cluster` that made it
-- cluster_id: the cluster's number, from 0
-- label: the label whose records were clustered, where each label was clustered by itself (`by_label`); else null
-- size: number of training records in it, each counted by its multiplicity
-- label_mix: shares of the labels in the cluster: list of {label, share}, largest first
-- purity: share of the commonest label among records that have a label; null if none has one
-- silhouette: mean silhouette of its records, from -1 to 1: how much nearer they are to this cluster than to the next
--     (Rousseeuw 1987); from a sample of 5,000 records of all clusters, null where too few of this one were drawn
-- radius: distance of the farthest training record to the centroid
-- centroid: mean vector of its records, in the space of the embedder
-- needs: current_runs
select c.run_id, c.cluster_id, c.label, c.size, c.label_mix, c.purity, c.silhouette, c.radius, c.centroid
from raw_clusters c join detail.current_runs r on r.run_id = c.run_id and r.step = 'cluster'
