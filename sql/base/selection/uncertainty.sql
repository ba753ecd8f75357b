-- What each select run left: the posterior variance at the centroid of every cluster.
-- key: run_id, cluster_id
-- run_id: the select run
-- cluster_id: the cluster, of the run's clusters
-- variance_before: before the run's first pick; in a later round, what was selected and generated before it is known
-- variance_after: after its last pick
-- needs: runs
select u.* from raw_uncertainty u join main.runs r on r.run_id = u.run_id
