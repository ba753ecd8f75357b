-- The sampling weights of every align run, current or not; over one run they sum to 1.
-- key: run_id, id
-- run_id: the align run
-- id: the synthetic record
-- weight_set: the name that they were given
-- label: its label
-- weight: its share of draws
-- needs: runs
select w.* from raw_weights w join runs r on r.run_id = w.run_id
