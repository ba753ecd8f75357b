-- For each current cluster of the real records: how often it was selected, and what came of it.
-- synthetic: weighted synthetic records in the cluster, by multiplicity, wherever they came from
-- real_share, synthetic_share, weighted_share: the cluster's share of each side; each adds up to 1
-- generated: synthetic records that came from its selections
-- needs: clusters, cluster_members, selections, synthetic, synthetic_weighted, current_runs
with selected as (
    select s.cluster_id, count(*) as selections
    from selections s join current_runs c on c.run_id = s.run_id and c.step = 'select'
    group by s.cluster_id
),
generated as (
    select s.cluster_id, count(*) as generated
    from synthetic y
    join selections s on s.selection_id = y.selection_id
    join current_runs c on c.run_id = s.run_id and c.step = 'select'
    group by s.cluster_id
),
synthetic_side as (
    select m.cluster_id, sum(w.multiplicity) as synthetic, sum(w.weight) as weight
    from cluster_members m join synthetic_weighted w on w.id = m.id
    where m.origin = 'synthetic'
    group by m.cluster_id
)
select k.cluster_id, k.size as real_size, k.size / sum(k.size) over () as real_share,
    coalesce(s.selections, 0) as selections, coalesce(g.generated, 0) as generated,
    cast(coalesce(y.synthetic, 0) as bigint) as synthetic,
    coalesce(y.synthetic, 0) / nullif(sum(coalesce(y.synthetic, 0)) over (), 0) as synthetic_share,
    coalesce(y.weight, 0) / nullif(sum(coalesce(y.weight, 0)) over (), 0) as weighted_share,
    k.label_mix, k.radius
from clusters k
left join selected s on s.cluster_id = k.cluster_id
left join generated g on g.cluster_id = k.cluster_id
left join synthetic_side y on y.cluster_id = k.cluster_id
order by k.cluster_id
