-- Every selection of demonstrations, of current and earlier runs.
-- variance_before, variance_after: posterior variance at the cluster's centroid, before and after taking it
-- max_remaining: the largest variance left anywhere after it
-- demonstrations: ids of real records, shown to the language model
-- stop_reason: on the last step of a run, why it ended
-- needs: runs
select s.* from raw_selections s join runs r on r.run_id = s.run_id
