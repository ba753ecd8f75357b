-- How far the weights of two align runs lie apart: one line for each label, and one for all records together. Within a
-- line the weights of either run are scaled to a sum of 1, so that a label's line says how its records drifted among
-- themselves, and `share_a`, `share_b` how the label did. Records that a person excluded since are among them. An
-- unknown run is an error that says where the ids stand.
-- argument run_a: run_id of an align run, as in `weight_sets`, `alignments` or `runs`
-- argument run_b: of the other
-- example: select * from weight_drift('<run_id>', (select run_id from weight_sets where is_current))
-- key: stratum
-- stratum: a label, `(none)` for records without one, or `*` for all
-- records_both: records that have a weight in both
-- records_only_a: only in the first
-- records_only_b: only in the second
-- total_variation: half the sum of the absolute differences, from 0 (the same) to 1 (no record in common), a record
--     that one of them lacks counted as 0; null where one has no weight in the stratum
-- mean_abs_log_ratio: mean of |ln(b / a)| over records that have a weight above 0 in both: 0.69 says that weights
--     doubled or halved on average
-- correlation: of the weights of records in both; null where either does not vary
-- share_a: share of the first run's weight in the stratum
-- share_b: and of the second's
-- effective_share_a: effective sample size of the first run's weights in the stratum, 1 / sum(w^2), over their number
-- effective_share_b: and of the second's
-- heldout_after_a: squared MMD to the real records that the weights were not fitted to, see `alignments`; null where
--     the stratum was not matched
-- heldout_after_b: and of the second
-- needs: weights, alignments
create macro weight_drift(run_a, run_b) as table
with named as (select run_a::varchar as name_a, run_b::varchar as name_b),
missing as (
    select case when name_a is null or not exists (select 1 from alignments x where x.run_id = name_a) then name_a
        else name_b end as name,
        not exists (select 1 from alignments x where x.run_id = name_a)
            or not exists (select 1 from alignments x where x.run_id = name_b) as any_is
    from named
),
asked as (
    select n.name_a, n.name_b,
        case when m.any_is then error(concat(
            'weight_drift: there is no align run ''', m.name, '''. Their ids '
            'stand in the relation weight_sets, those of earlier ones in runs (step = ''align'').')) else true end as known
    from named n, missing m
),
side_a as (select w.id, w.label, w.weight from weights w join asked k on k.known and w.run_id = k.name_a),
side_b as (select w.id, w.label, w.weight from weights w join asked k on k.known and w.run_id = k.name_b),
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
left join alignments a on a.run_id = k.name_a and a.stratum = c.stratum
left join alignments b on b.run_id = k.name_b and b.stratum = c.stratum
order by c.stratum = '*' desc, c.stratum
