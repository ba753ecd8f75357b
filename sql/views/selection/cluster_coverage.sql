-- For each current cluster of the real records: how often it was selected in the current rounds, and what came of it.
-- example: select cluster_id, real_share, synthetic_share, weighted_share from cluster_coverage order by real_share
--     desc
-- key: cluster_id
-- cluster_id: number, from 0
-- label: the label that it was made within, see `clusters`
-- real_size: training records in it, by multiplicity
-- real_share: their share
-- selections: of the current rounds, that took it or a record of it
-- generated: synthetic records written for those selections
-- synthetic: weighted synthetic records that lie in the cluster, by multiplicity, wherever they came from
-- synthetic_share: their share
-- weighted_share: their share of the weight
-- variance_left: posterior variance at its centroid after the last selection; high where nothing was selected nor, in a
--     later round, generated
-- label_mix: list of {label, share}
-- purity: share of the commonest label, see `clusters`
-- radius: distance of the farthest member
-- needs: clusters, cluster_members, selections, uncertainty, synthetic, synthetic_weighted, selection_rounds, current_runs
with selected as (
    select s.cluster_id, count(*) as selections
    from detail.selections s join detail.selection_rounds c on c.run_id = s.run_id
    group by s.cluster_id
),
generated as (
    select s.cluster_id, count(*) as generated
    from main.synthetic y
    join detail.selections s on s.selection_id = y.selection_id
    join detail.selection_rounds c on c.run_id = s.run_id
    group by s.cluster_id
),
synthetic_side as (
    select m.cluster_id, sum(w.multiplicity) as synthetic, sum(w.weight) as weight
    from detail.cluster_members m join main.synthetic_weighted w on w.id = m.id
    where m.origin = 'synthetic'
    group by m.cluster_id
),
left_over as (
    select u.cluster_id, u.variance_after
    from detail.uncertainty u join detail.current_runs c on c.run_id = u.run_id and c.step = 'select'
)
select k.cluster_id, k.label, k.size as real_size, k.size / sum(k.size) over () as real_share,
    coalesce(s.selections, 0) as selections, coalesce(g.generated, 0) as generated,
    cast(coalesce(y.synthetic, 0) as bigint) as synthetic,
    coalesce(y.synthetic, 0) / nullif(sum(coalesce(y.synthetic, 0)) over (), 0) as synthetic_share,
    coalesce(y.weight, 0) / nullif(sum(coalesce(y.weight, 0)) over (), 0) as weighted_share,
    u.variance_after as variance_left, k.label_mix, k.purity, k.radius
from detail.clusters k
left join selected s on s.cluster_id = k.cluster_id
left join generated g on g.cluster_id = k.cluster_id
left join synthetic_side y on y.cluster_id = k.cluster_id
left join left_over u on u.cluster_id = k.cluster_id
order by k.cluster_id
