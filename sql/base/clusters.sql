-- The current clusters of the real training records. size, label_mix and radius are those when they were clustered;
-- cluster_members has records that were assigned later, too.
-- label: the one that it was made within; null unless each label was clustered by itself, and for records without one
-- size: training records, by multiplicity
-- label_mix: the share of each label
-- purity: the share of the commonest label among records that have one
-- silhouette: from -1 to 1, how far its records are from the next cluster (Rousseeuw 1987), in a sample of all records;
--     null where too few of it were drawn
-- radius: distance of the farthest of them; centroid: in the space of the embedder
-- needs: current_runs
select c.run_id, c.cluster_id, c.label, c.size, c.label_mix, c.purity, c.silhouette, c.radius, c.centroid
from raw_clusters c join current_runs r on r.run_id = c.run_id and r.step = 'cluster'
