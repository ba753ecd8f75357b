-- The current clusters of the real training records. `size`, `label_mix`, `purity`, `silhouette` and `radius` are those
-- of the training records when they were clustered; `cluster_members` has records that were assigned later, too.
-- key: cluster_id
-- run_id: the run that wrote the row, see `runs`
-- cluster_id: number, from 0
-- label: the label that it was made within; null for records without one, and unless each label was clustered by itself
--     (`by_label`)
-- size: training records in it, by multiplicity, when clustered
-- label_mix: list of {label, share}, largest first, when clustered
-- purity: share of the commonest label, among records that have one; null if none has, and for clusters of earlier
--     versions
-- silhouette: mean of its records, from -1 to 1: how far they are from the next cluster (Rousseeuw 1987); in a sample
--     of 5,000 of all records, null where too few were drawn
-- radius: distance of the farthest training record, when clustered
-- centroid: in the space of the embedder
-- needs: current_runs
select c.run_id, c.cluster_id, c.label, c.size, c.label_mix, c.purity, c.silhouette, c.radius, c.centroid
from raw_clusters c join detail.current_runs r on r.run_id = c.run_id and r.step = 'cluster'
