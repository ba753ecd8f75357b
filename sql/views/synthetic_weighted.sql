-- The synthetic records with their current sampling weight, without those that a person excluded.
-- weight: the share of draws that this record gets; over the set the weights sum to 1,
--     until records are excluded: the weights of the others are learned anew by align
-- weight_set: the name under which they were learned; synthetic_weighted_in(name) has those of another set
-- label_quality: the probability that the real data would give this text its label; null where it was not computed
-- label_name: what the label means
-- needs: synthetic, weights, current_runs, exclusions, label_names, label_quality
select s.*, n.label_name, w.weight_set, w.weight, q.quality as label_quality
from synthetic s
join weights w on w.id = s.id
join current_runs c on c.run_id = w.run_id and c.step = 'align'
left join label_names n on n.label = s.label
left join label_quality q on q.run_id = w.run_id and q.id = w.id
where not exists (select 1 from exclusions e where e.id = s.id)
