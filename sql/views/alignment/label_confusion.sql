-- How labels mix among nearest neighbours: the label of sampled records, real and synthetic, against the label of the
-- nearest real training record. Real records show how far labels mix by nature; where synthetic ones mix more, their
-- texts do not say what their labels do. From the newest measurement of the current weights, see `neighbours`; without
-- excluded records.
-- example: select label, neighbour_label, records, share from label_confusion where label <> neighbour_label
-- key: origin, label, neighbour_label
-- origin: `real` or `synthetic`
-- label: the label of the records; null without one
-- neighbour_label: the label of the nearest real training record that is not the record itself; null without one
-- records: number of sampled records
-- share: share of the sampled records of this origin and label whose neighbour has `neighbour_label`, by multiplicity
-- weighted_share: share of the weight of the sampled records of this label whose neighbour has `neighbour_label`; null
--     for real records
-- mean_similarity: mean cosine similarity of these records to their neighbours
-- needs: neighbours, real, synthetic_weighted, current_runs, run_order
with measured as (
    select arg_max(o.run_id, o.sequence) as run_id
    from (select distinct run_id, weights_run_id from detail.neighbours) n
    join detail.current_runs c on c.run_id = n.weights_run_id and c.step = 'align'
    join detail.run_order o on o.run_id = n.run_id
),
looked_at as (
    select n.origin, n.label, n.neighbour_label, n.similarity, r.multiplicity, null::double as weight
    from measured m
    join detail.neighbours n on n.run_id = m.run_id and n.origin = 'real'
    join main.real r on r.id = n.id
    union all
    select n.origin, n.label, n.neighbour_label, n.similarity, s.multiplicity, s.weight
    from measured m
    join detail.neighbours n on n.run_id = m.run_id and n.origin = 'synthetic'
    join main.synthetic_weighted s on s.id = n.id
)
select origin, label, neighbour_label, count(*) as records,
    sum(multiplicity) / sum(sum(multiplicity)) over own as share,
    sum(weight) / nullif(sum(sum(weight)) over own, 0) as weighted_share, avg(similarity) as mean_similarity
from looked_at
group by origin, label, neighbour_label
window own as (partition by origin, label)
order by origin, label, records desc, neighbour_label
