-- What to generate next: where real training text lies and the weighted synthetic text is too thin. One line for each
-- label in each cluster, the largest gap (`witness` * `real_share`) first; without clusters, one for each label, and
-- `cluster_id` is null. From the newest measurement of the current weights (see `witness`); empty before there is one.
-- example: select label, missing_share, examples from coverage_gaps limit 10
-- key: cluster_id, label
-- cluster_id: the cluster; null for records that are in none
-- label: the label; null for records without one
-- real_records: real training records that were measured there, by multiplicity
-- real_share: share of these records among all real records that were measured
-- weighted_share: share of all weight that synthetic records of this label in this cluster have
-- missing_share: `real_share` - `weighted_share`, or 0 if that is below 0
-- witness: mean of the witness function over the real records: above 0, synthetic text is missing
-- coverage: synthetic over real density at the real records: 1 where they are equal, 0 where no synthetic record is
--     near
-- example_ids: ids of up to three real records where most is missing
-- examples: texts of up to three real records where most is missing
-- needs: witness, real, cluster_members, synthetic_weighted, current_runs, run_order
with measured as (
    select arg_max(o.run_id, o.sequence) as run_id
    from (select distinct run_id, weights_run_id from detail.witness) w
    join detail.current_runs c on c.run_id = w.weights_run_id and c.step = 'align'
    join detail.run_order o on o.run_id = w.run_id
),
placed as (
    select m.cluster_id, r.label, r.id, r.text, r.multiplicity, w.witness, w.real_mean, w.synthetic_mean,
        row_number() over (partition by m.cluster_id, r.label order by w.witness desc, r.id) as place
    from measured n
    join detail.witness w on w.run_id = n.run_id
    join main.real r on r.id = w.id and r.split = 'train'
    left join detail.cluster_members m on m.origin = 'real' and m.id = r.id
),
real_side as (
    select cluster_id, label, cast(sum(multiplicity) as bigint) as real_records,
        sum(multiplicity) / sum(sum(multiplicity)) over () as real_share,
        sum(multiplicity * witness) / sum(multiplicity) as witness,
        sum(multiplicity * synthetic_mean) / nullif(sum(multiplicity * real_mean), 0) as coverage,
        list(id order by place) filter (place <= 3) as example_ids,
        list(text order by place) filter (place <= 3) as examples
    from placed
    group by cluster_id, label
),
synthetic_side as (
    select m.cluster_id, s.label, sum(s.weight) / sum(sum(s.weight)) over () as weighted_share
    from main.synthetic_weighted s
    left join detail.cluster_members m on m.origin = 'synthetic' and m.id = s.id
    group by m.cluster_id, s.label
)
select r.cluster_id, r.label, r.real_records, r.real_share, coalesce(s.weighted_share, 0) as weighted_share,
    greatest(r.real_share - coalesce(s.weighted_share, 0), 0) as missing_share, r.witness, r.coverage,
    r.example_ids, r.examples
from real_side r
left join synthetic_side s on s.cluster_id is not distinct from r.cluster_id and s.label is not distinct from r.label
order by r.witness * r.real_share desc, r.cluster_id, r.label
