-- One line for each stratum of every named weight set, the current set first; '*' is all records together.
-- is_current: whether synthetic_weighted has this set; with one set in the workspace, that is every line
-- mmd2_before, mmd2_after: distance to the real records before and after weighting
-- heldout_*: the same on real records that the weights were not fitted on; ratio_to_floor: after, over the floor
-- effective_share: 1 / sum(w^2) over the number of records; below 0.1 the two sets hardly overlap
-- quality, label_shares, scored_from, drift: how the weights were made, see alignments
-- mmd2_unbiased, p_value, auc, precision, recall, density, coverage: of the weighted records, from the newest
--     measurement of these weights; null where there is none. p_value: of the hypothesis that both sides are alike;
--     auc: of a classifier that tells them apart, .5 if it cannot, with its interval
-- needs: alignments, weight_sets, metrics, run_order
with measured as (
    select m.weights_run_id, arg_max(o.run_id, o.sequence) as run_id
    from (select distinct run_id, weights_run_id from metrics) m
    join run_order o on o.run_id = m.run_id
    group by m.weights_run_id
),
figures as (
    select m.weights_run_id, m.scope,
        max(m.value) filter (m.metric = 'mmd2_unbiased') as mmd2_unbiased,
        max(m.p_value) filter (m.metric = 'mmd2_permutation') as p_value,
        max(m.value) filter (m.metric = 'auc_weighted') as auc,
        max(m.low) filter (m.metric = 'auc_weighted') as auc_low,
        max(m.high) filter (m.metric = 'auc_weighted') as auc_high,
        max(m.value) filter (m.metric = 'precision') as precision,
        max(m.value) filter (m.metric = 'recall') as recall,
        max(m.value) filter (m.metric = 'density') as density,
        max(m.value) filter (m.metric = 'coverage') as coverage
    from metrics m
    join measured n on n.run_id = m.run_id and n.weights_run_id = m.weights_run_id
    group by m.weights_run_id, m.scope
)
select a.weight_set, k.is_current, a.stratum, a.real_records, a.synthetic_records, a.share,
    a.mmd2_before, a.mmd2_after,
    a.mmd2_heldout_before as heldout_before, a.mmd2_heldout_after as heldout_after, a.mmd2_floor as floor,
    a.mmd2_heldout_after / nullif(a.mmd2_floor, 0) as ratio_to_floor,
    a.mmd2_test_before as test_before, a.mmd2_test_after as test_after,
    a.effective_size, a.effective_share, a.strength, a.quality, a.label_shares, a.scored_from, a.drift,
    f.mmd2_unbiased, f.p_value, f.auc, f.auc_low, f.auc_high, f.precision, f.recall, f.density, f.coverage,
    a.gap, a.converged, a.embedder, a.run_id
from alignments a
join weight_sets k on k.run_id = a.run_id
left join figures f on f.weights_run_id = a.run_id and f.scope = a.stratum
order by k.is_current desc, a.weight_set, a.stratum = '*' desc, a.stratum
