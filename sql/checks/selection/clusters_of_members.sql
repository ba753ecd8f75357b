-- Members of a cluster that is not there.
-- cure: cluster anew: 'synalign cluster DIR --refit'
-- needs: kept_cluster_members, kept_clusters
select m.run_id, m.origin, m.id, m.cluster_run_id, m.cluster_id
from kept_cluster_members m
anti join kept_clusters c on c.run_id = m.cluster_run_id and c.cluster_id = m.cluster_id
