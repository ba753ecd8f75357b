-- One line for each stratum of the current alignment; '*' is all records together.
-- mmd2_before, mmd2_after: distance to the real records before and after weighting
-- heldout_*: the same on real records that the weights were not fitted on; ratio_to_floor: after, over real against real
-- effective_share: 1 / sum(w^2) over the number of records; below 0.1 the two sets hardly overlap
-- needs: alignments, current_runs
select a.weight_set, a.stratum, a.real_records, a.synthetic_records, a.share,
    a.mmd2_before, a.mmd2_after,
    a.mmd2_heldout_before as heldout_before, a.mmd2_heldout_after as heldout_after, a.mmd2_floor as floor,
    a.mmd2_heldout_after / nullif(a.mmd2_floor, 0) as ratio_to_floor,
    a.mmd2_test_before as test_before, a.mmd2_test_after as test_after,
    a.effective_size, a.effective_share, a.strength, a.gap, a.converged, a.embedder, a.run_id
from alignments a
join current_runs c on c.run_id = a.run_id and c.step = 'align'
order by a.stratum = '*' desc, a.stratum
