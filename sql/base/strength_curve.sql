-- The candidates among which an align run chose how hard to pull, and what each was worth.
-- strength: eps of the dual, infinite for no pull; quality, label_shares: as in alignments
-- accuracy: cross-validated on real records, of a model trained on the weighted synthetic ones; null without labels
-- gain: accuracy over that of unweighted synthetic records, on the same folds; *_error: standard errors
-- chosen: the one that the weights are made with, a cap and a floor aside
-- unweighted: the one that stands for no weighting
-- needs: runs
select s.* from raw_strength_curve s join runs r on r.run_id = s.run_id
