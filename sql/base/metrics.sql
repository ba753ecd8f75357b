-- What was measured of the weights of an align run, one figure a row, over all records ('*') or one stratum.
-- value, low, high: the figure and its interval, where it has one; p_value: of mmd2_permutation
-- metric: what was measured; *_raw: before weighting, the others after
-- split: of the real records that were compared with
-- real_records, synthetic_records, seed: the subsample that was measured
-- needs: runs
select m.* from raw_metrics m join runs r on r.run_id = m.run_id
