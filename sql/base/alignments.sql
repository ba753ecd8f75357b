-- How each weight set was learned, for each stratum (a label) and over all ('*').
-- dual: the vector that scores a record: weight ~ prior * exp(features . dual)
-- mmd2_*: squared maximum mean discrepancy to the real records, in the random features of this run
-- mmd2_heldout_*: fitted to one half of the real records, measured on the other; mmd2_floor: half against half
-- mmd2_test_*: measured on the test split, which nothing was fitted on
-- effective_size: 1 / sum(w^2); effective_share: that, over the number of records
-- gap: relative duality gap, the certificate of convergence
-- needs: runs
select a.* from raw_alignments a join runs r on r.run_id = a.run_id
