-- How the current clusters of the real records are covered: how often each was selected in the current rounds, and how
-- much synthetic text lies in it.
-- example: select cluster_id, real_share, synthetic_share, weighted_share from cluster_coverage order by real_share
--     desc
-- key: cluster_id
-- cluster_id: the cluster's number, from 0
-- label: the label whose records were clustered, where each label was clustered by itself; else null
-- real_size: real training records in the cluster when it was made, by multiplicity
-- real_share: share of the real training records that the cluster has
-- selections: selections of the current rounds that picked the cluster or a record in it
-- generated: synthetic records that were written for these selections
-- synthetic: weighted synthetic records that lie in the cluster, by multiplicity, wherever they came from
-- synthetic_share: share of all weighted synthetic records, by multiplicity, that lie in the cluster
-- weighted_share: share of all weight that lies in the cluster
-- variance_left: posterior variance at the centroid after the last selection: high where nothing was selected, or
--     generated in an earlier round
-- label_mix: shares of the labels among its real records: list of {label, share}
-- purity: share of the commonest label among real records that have one; null if none has
-- radius: distance of the farthest real training record to the centroid
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
