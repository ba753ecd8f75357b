-- How far the weights of two align runs lie apart: see weight_drift.
-- needs: weights, alignments
select * from weight_drift($run_a, $run_b)
