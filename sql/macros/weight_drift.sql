-- How far two weight sets lie apart: one line for each label, and one for all records together. In a line the weights of
-- each set are scaled to a sum of 1, so that `total_variation`, `mean_abs_log_ratio` and `correlation` say how the
-- records of that label moved among themselves; `share_a` and `share_b` say how much weight the label has in each set.
-- Records that were excluded after the weights were learned are counted too. A name that is neither a weight set nor an
-- align run is an error that lists the weight sets.
-- argument run_a: the first: the name of a weight set, or the run_id of an align run, which need not be the newest of
--     its name
-- argument run_b: the second: the name of a weight set, or the run_id of an align run
-- argument attached_as: the name that the catalog is attached under, if it is neither opened nor in `use`: 'reviews'
--     after `attach '...' as reviews`. It is not needed in `ws.sql`
-- example: select stratum, total_variation from weight_drift('default', 'capped')
-- key: stratum
-- stratum: a label, `(none)` for records without one, or `*` for all records
-- records_both: records that have a weight in both sets
-- records_only_a: records that have a weight in the first set only
-- records_only_b: records that have a weight in the second set only
-- total_variation: total variation distance of the two sets of weights: half the sum of the absolute differences, from 0
--     (equal) to 1 (no record in common). A record that one set lacks has weight 0 there; null where a set has no weight
--     in the stratum
-- mean_abs_log_ratio: mean of |ln(weight in the second / weight in the first)| over records whose weight is above 0 in
--     both: 0.69 says that weights doubled or halved on average
-- correlation: Pearson correlation of the weights of the records in both sets; null where the weights of one are constant
-- share_a: the stratum's share of all weight in the first set
-- share_b: the stratum's share of all weight in the second set
-- effective_share_a: effective sample size 1 / sum(w^2) of the first set's weights in the stratum, over their number
-- effective_share_b: effective sample size 1 / sum(w^2) of the second set's weights in the stratum, over their number
-- heldout_after_a: squared MMD of the first set's weighted records to the real records that its weights were not fitted
--     to, see `alignments`; null where the stratum was not matched
-- heldout_after_b: squared MMD of the second set's weighted records to the real records that its weights were not fitted
--     to, see `alignments`; null where the stratum was not matched
-- needs: weights, alignments, weight_sets
create macro weight_drift(run_a, run_b, attached_as := null) as table
with weights as not materialized (from query_table(concat(attached_as || '.', 'main.weights'))),
alignments as not materialized (from query_table(concat(attached_as || '.', 'detail.alignments'))),
weight_sets as not materialized (from query_table(concat(attached_as || '.', 'detail.weight_sets'))),
given as (select unnest([run_a::varchar, run_b::varchar]) as name, unnest([1, 2]) as place),
found as (
    select g.place, g.name,
        case when exists (select 1 from alignments x where x.run_id = g.name) then g.name else k.run_id end as run_id
    from given g left join weight_sets k on k.weight_set = g.name
),
asked as (
    select
        case when bool_or(run_id is null) then error(concat(
            'weight_drift: there is no weight set and no align run ''',
            arg_min(coalesce(name, 'null'), place) filter (run_id is null), '''. Weight sets: ',
            (select coalesce(string_agg(k.weight_set, ', ' order by k.weight_set), 'none yet') from weight_sets k),
            '. The ids of align runs stand in the relation runs (step = ''align'').')) else true end as known,
        max(run_id) filter (place = 1) as id_a, max(run_id) filter (place = 2) as id_b
    from found
),
side_a as (select w.id, w.label, w.weight from weights w join asked k on k.known and w.run_id = k.id_a),
side_b as (select w.id, w.label, w.weight from weights w join asked k on k.known and w.run_id = k.id_b),
pairs as (
    select coalesce(a.label, b.label) as label, a.weight as weight_a, b.weight as weight_b
    from side_a a full join side_b b on b.id = a.id
),
placed as (
    select '*' as stratum, weight_a, weight_b from pairs
    union all
    select coalesce(label, '(none)'), weight_a, weight_b from pairs
),
scaled as (
    select stratum, weight_a, weight_b, weight_a / nullif(sum(weight_a) over strata, 0) as part_a,
        weight_b / nullif(sum(weight_b) over strata, 0) as part_b
    from placed
    window strata as (partition by stratum)
),
compared as (
    select stratum, count(weight_a) filter (weight_b is not null) as records_both,
        count(weight_a) filter (weight_b is null) as records_only_a,
        count(weight_b) filter (weight_a is null) as records_only_b,
        case when max(part_a) > 0 and max(part_b) > 0
            then sum(abs(coalesce(part_a, 0) - coalesce(part_b, 0))) / 2 end as total_variation,
        avg(abs(ln(part_b) - ln(part_a))) filter (part_a > 0 and part_b > 0) as mean_abs_log_ratio,
        corr(part_a, part_b) as correlation,
        coalesce(sum(weight_a), 0) as total_a, coalesce(sum(weight_b), 0) as total_b,
        1 / sum(part_a * part_a) / count(weight_a) as effective_share_a,
        1 / sum(part_b * part_b) / count(weight_b) as effective_share_b
    from scaled
    group by stratum
)
select c.stratum, c.records_both, c.records_only_a, c.records_only_b, c.total_variation, c.mean_abs_log_ratio,
    case when not isnan(c.correlation) then c.correlation end as correlation,
    c.total_a / nullif(max(c.total_a) over (), 0) as share_a, c.total_b / nullif(max(c.total_b) over (), 0) as share_b,
    c.effective_share_a, c.effective_share_b,
    a.mmd2_heldout_after as heldout_after_a, b.mmd2_heldout_after as heldout_after_b
from compared c
cross join asked k
left join alignments a on a.run_id = k.id_a and a.stratum = c.stratum
left join alignments b on b.run_id = k.id_b and b.stratum = c.stratum
order by c.stratum = '*' desc, c.stratum
