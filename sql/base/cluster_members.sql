-- The current cluster of each record, real and synthetic.
-- distance: Euclidean, to the centroid
-- needs: runs, current_runs
select m.origin, m.id, m.cluster_id, m.distance
from raw_cluster_members m
join runs r on r.run_id = m.run_id
join current_runs c on c.run_id = m.cluster_run_id and c.step = 'cluster'
