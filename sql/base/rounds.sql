-- Every round that was judged: whether its records brought the weighted synthetic text nearer to real text.
-- records: synthetic records that came in the round; synthetic_records: that were weighted at its end
-- mmd2_without, mmd2_with: squared MMD to the held-out half of the real records, weights fitted to the other half, without
--     and with the round's records; null where there is nothing to compare with
-- improvement, improvement_error: the difference, and its standard error over the held-out records
-- mmd2_floor: between the two halves of the real records; effective_share: of the weights at the round's end
-- decision: continue, or stop, since the improvement is not above its error; reason: in words
-- needs: runs
select d.* from raw_rounds d join runs r on r.run_id = d.run_id
