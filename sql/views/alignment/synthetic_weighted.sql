-- The synthetic records with their weight in the current set, without excluded ones. Columns of the user's file are
-- kept.
-- example: select label, count(*) as records, sum(weight) as share from synthetic_weighted group by label order by
--     label
-- key: id
-- as: synthetic
-- label_name: what the label means, in words
-- weight_set: name of the current weight set
-- weight: probability that a draw takes this record; the weights sum to 1 until records are excluded, and again after
--     the next `align`
-- label_quality: the probability that the real data would give this text its label; null where it was not computed
-- needs: synthetic, weights, current_runs, exclusions, label_names, label_quality
select s.*, n.label_name, w.weight_set, w.weight, q.quality as label_quality
from main.synthetic s
join main.weights w on w.id = s.id
join detail.current_runs c on c.run_id = w.run_id and c.step = 'align'
left join detail.label_names n on n.label = s.label
left join detail.label_quality q on q.run_id = w.run_id and q.id = w.id
where not exists (select 1 from detail.exclusions e where e.id = s.id)
