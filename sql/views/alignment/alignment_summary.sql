-- How well each named weight set matches the real records: one line for each stratum, the current set first, and the
-- row for all records (`*`) first in each. `where is_current` leaves the set that is in use. The measured columns come
-- from the newest measurement of the same weights (see `metrics`), and are null where there is none.
-- example: select stratum, heldout_before, heldout_after, floor, effective_share from alignment_summary where
--     is_current
-- key: weight_set, stratum
-- weight_set: name of the weight set
-- is_current: whether this set is in use, see `weight_sets`
-- stratum: a label, `(none)` for records without one, or `*` for all records
-- real_records: number of real training records in the stratum
-- synthetic_records: number of synthetic records in the stratum
-- share: the stratum's share of the real training records
-- mmd2_before: squared MMD of the unweighted synthetic records to the real records
-- mmd2_after: squared MMD of the weighted synthetic records to the real records
-- heldout_before: squared MMD of the unweighted synthetic records to real records that the weights were not fitted to
-- heldout_after: squared MMD of the weighted synthetic records to real records that the weights were not fitted to
-- floor: squared MMD between two halves of the real records: what equal distributions give
-- ratio_to_floor: `heldout_after` over `floor`
-- test_before: squared MMD of the unweighted synthetic records to the test split
-- test_after: squared MMD of the weighted synthetic records to the test split
-- effective_size: effective sample size of the weights, 1 / sum(w^2), in records
-- effective_share: `effective_size` over `synthetic_records`; below 0.1 the two sides hardly overlap
-- strength: regularisation eps of the dual: the smaller, the more the weights may differ; infinite keeps the base
--     weights
-- quality: whether label quality is a factor of the weights
-- label_shares: each label's share of all weight: `real`, `kept` or `given`, see `alignments`
-- scored_from: the run whose dual vectors scored these weights; null where they were fitted
-- drift: how far records that came in or were excluded since the fit moved the weighted mean feature; null where fitted
-- mmd2_unbiased: measured: unbiased estimate of the squared MMD of the weighted synthetic records to the real ones; it
--     can be below 0
-- p_value: measured: p-value of a permutation test of equal distributions
-- auc: measured: area under the ROC curve of a classifier that tells real from weighted synthetic records; .5 if it
--     cannot
-- auc_low: measured: lower end of the interval of `auc`
-- auc_high: measured: upper end of the interval of `auc`
-- precision: measured: share of the weighted synthetic records that lie among real ones
-- recall: measured: share of the real records that lie among synthetic ones
-- density: measured: how many real neighbourhoods a synthetic record lies in, over the number expected
-- coverage: measured: share of the real records with a synthetic one in their neighbourhood
-- gap: relative duality gap at which the solver stopped
-- converged: whether the solver reached its tolerance
-- embedder: the embedder whose vectors were compared
-- run_id: the run of `align` or `score`
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
