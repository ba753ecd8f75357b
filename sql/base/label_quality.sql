-- How well each synthetic record's label fits its text, judged by a classifier fitted to the real records of an align
-- run.
-- quality: the probability that the real data would give this text this label
-- predicted: the label that they would give; predicted_probability: of that one
-- needs: runs
select q.* from raw_label_quality q join runs r on r.run_id = q.run_id
