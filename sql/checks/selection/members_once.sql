-- Records that are in several clusters of one clustering.
-- cure: cluster anew: 'synalign cluster DIR --refit'
-- needs: kept_cluster_members
select cluster_run_id, origin, id, count(*) as clusters
from kept_cluster_members
group by all
having count(*) > 1
