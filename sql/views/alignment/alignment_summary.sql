-- One line for each stratum of every named weight set, the current set first, and `*` first in each. In a workspace
-- with several sets, `where is_current` leaves the one that `synthetic_weighted` has. The measured columns come from
-- the newest measurement of the same weights (see `metrics`), and are null where there is none.
-- example: select stratum, heldout_before, heldout_after, floor, effective_share from alignment_summary where
--     is_current
-- key: weight_set, stratum
-- weight_set: the name of the set
-- is_current: whether `synthetic_weighted` has this set
-- stratum: a label, `(none)` or `*`
-- real_records: real training records
-- synthetic_records: synthetic records
-- share: share of the real records
-- mmd2_before: squared MMD to the real records, unweighted
-- mmd2_after: and weighted
-- heldout_before: on held-out real records, unweighted
-- heldout_after: and weighted
-- floor: real against real
-- ratio_to_floor: `heldout_after` over `floor`
-- test_before: on the test split, unweighted
-- test_after: and weighted
-- effective_size: 1 / sum(w^2)
-- effective_share: that, over the number of records; below 0.1 the two sets hardly overlap
-- strength: eps of the dual; infinite for no pull
-- quality: whether the label quality is in the weights
-- label_shares: `real`, `kept` or `given`, see `alignments`
-- scored_from: the run whose dual vectors scored these weights; null where fitted
-- drift: how far records that came in or were excluded since the fit moved the weighted mean; null where fitted
-- mmd2_unbiased: measured: squared MMD to the real records, weighted, without bias
-- p_value: measured: of the hypothesis that both sides are alike
-- auc: measured: of a classifier that tells real from weighted synthetic; .5 if it cannot
-- auc_low: lower end of its interval
-- auc_high: upper end
-- precision: measured: share of the weighted synthetic records that lie among real ones
-- recall: measured: share of the real records that lie among synthetic ones
-- density: measured: how many real neighbourhoods a synthetic record lies in, over the number expected
-- coverage: measured: share of the real records with a synthetic one in their neighbourhood
-- gap: relative duality gap
-- converged: whether the solver reached its tolerance
-- embedder: the embedder's name
-- run_id: the align run
-- needs: alignments, weight_sets, metrics, run_order
with measured as (
    select m.weights_run_id, arg_max(o.run_id, o.sequence) as run_id
    from (select distinct run_id, weights_run_id from detail.metrics) m
    join detail.run_order o on o.run_id = m.run_id
    where o.step = 'measure'
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
    from detail.metrics m
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
from detail.alignments a
join detail.weight_sets k on k.run_id = a.run_id
left join figures f on f.weights_run_id = a.run_id and f.scope = a.stratum
order by k.is_current desc, a.weight_set, a.stratum = '*' desc, a.stratum
