-- The synthetic records with their current weight, without excluded ones, with the user's own columns.
-- example: select label, count(*) as records, sum(weight) as share from synthetic_weighted group by label order by
--     label
-- key: id
-- as: synthetic
-- label_name: what the label means
-- weight_set: the name of the set
-- weight: the share of draws; the set sums to 1, until records are excluded and before `align` runs again
-- label_quality: the probability that the real data would give this text its label; null where it was not computed
-- needs: synthetic, weights, current_runs, exclusions, label_names, label_quality
select s.*, n.label_name, w.weight_set, w.weight, q.quality as label_quality
from main.synthetic s
join main.weights w on w.id = s.id
join detail.current_runs c on c.run_id = w.run_id and c.step = 'align'
left join detail.label_names n on n.label = s.label
left join detail.label_quality q on q.run_id = w.run_id and q.id = w.id
where not exists (select 1 from detail.exclusions e where e.id = s.id)
