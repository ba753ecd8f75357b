-- The current clusters of the real training records. size, label_mix and radius are those when they were clustered;
-- cluster_members has records that were assigned later, too.
-- size: training records, by multiplicity
-- label_mix: the share of each label
-- radius: distance of the farthest of them; centroid: in the space of the embedder
-- needs: current_runs
select c.* from raw_clusters c join current_runs r on r.run_id = c.run_id and r.step = 'cluster'
