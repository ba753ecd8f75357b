-- The current cluster of each record, real and synthetic, including records that were assigned after the clustering.
-- key: origin, id
-- origin: `real` or `synthetic`
-- id: the record's id
-- cluster_id: see `clusters`
-- distance: Euclidean distance of the record's vector to the centroid
-- needs: runs, current_runs
select m.origin, m.id, m.cluster_id, m.distance
from raw_cluster_members m
join main.runs r on r.run_id = m.run_id
join detail.current_runs c on c.run_id = m.cluster_run_id and c.step = 'cluster'
