-- Where the weighted synthetic records are too thin, at each real training record: the MMD witness function.
-- witness: real_mean - synthetic_mean; above 0 synthetic text is missing there
-- real_mean: mean kernel to the other real records; synthetic_mean: to the synthetic ones, by weight
-- A record of another stratum is infinitely far away: both means are those in the stratum, times its share.
-- needs: runs
select w.* from raw_witness w join runs r on r.run_id = w.run_id
