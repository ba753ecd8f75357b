-- What each select run left: the posterior variance at the centroid of every cluster, before its first pick and after
-- its last. Before the first pick of a later round, what was selected and generated in earlier ones is known.
-- needs: runs
select u.* from raw_uncertainty u join runs r on r.run_id = u.run_id
