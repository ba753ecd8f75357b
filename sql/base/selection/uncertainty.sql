-- The posterior variance of the Gaussian process at the centroid of every cluster, before and after each run of
-- `select`.
-- key: run_id, cluster_id
-- run_id: the run of `select`
-- cluster_id: the cluster, in the clustering that the run read
-- variance_before: posterior variance before the run's first pick; in a later round, given all that was selected and
--     generated earlier
-- variance_after: posterior variance after the run's last pick
-- needs: runs
select u.* from raw_uncertainty u join main.runs r on r.run_id = u.run_id
