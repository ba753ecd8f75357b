-- The sampling weights of every weight set; over the records of one set they sum to 1.
-- needs: runs
select w.* from raw_weights w join runs r on r.run_id = w.run_id
