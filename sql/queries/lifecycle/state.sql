-- What a state of a workspace holds, one figure a row: what ws.diff() lays side by side.
-- needs: real, synthetic, exclusions, selection_log, calls, rejections, clusters, synthetic_weighted, alignment_summary
with mixed as (
    select 'share of real' as topic, coalesce(label, '(none)') as name,
        sum(multiplicity) / sum(sum(multiplicity)) over () as value
    from main.real where split = 'train' group by label
    union all
    select 'share of synthetic', coalesce(label, '(none)'), sum(multiplicity) / sum(sum(multiplicity)) over ()
    from main.synthetic group by label
    union all
    select 'share of weight', coalesce(label, '(none)'), sum(weight) / sum(sum(weight)) over ()
    from main.synthetic_weighted group by label
),
counted as (
    select 'records' as topic, concat('real ', split) as name, count(*)::double as value from main.real group by split
    union all
    select 'records', 'synthetic', count(*) from main.synthetic having count(*) > 0
    union all
    select 'records', 'excluded', count(*) from detail.exclusions having count(*) > 0
    union all
    select 'records', 'weighted', count(*) from main.synthetic_weighted having count(*) > 0
    union all
    select 'records', 'refused', count(*) from detail.rejections having count(*) > 0
    union all
    select 'clusters', 'clusters', count(*) from detail.clusters having count(*) > 0
    union all
    select 'selections', 'current', count(*) from main.selection_log having count(*) > 0
    union all
    select 'calls', status, count(*) from detail.calls group by status
    union all
    select 'calls', 'cost_usd', sum(cost_usd) from detail.calls having sum(cost_usd) is not null
),
figures as (
    unpivot (
        select heldout_before, heldout_after, floor, effective_share, auc from main.alignment_summary
        where is_current and stratum = '*'
    )
    on heldout_before, heldout_after, floor, effective_share, auc
    into name name value value
)
select topic, name, value from counted
union all
select topic, name, value from mixed
union all
select 'alignment', name, value from figures
