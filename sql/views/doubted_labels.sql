-- Synthetic records to which the real data would give another label than theirs, most doubted first; from the current
-- align run, without excluded ones.
-- quality: the probability that the real data would give the text this label
-- predicted: the label that they would give; predicted_probability: of that one
-- weight: in the current set; 0 where the record has none
-- needs: synthetic, label_quality, weights, current_runs, exclusions
select s.id, s.text, s.label, q.quality, q.predicted, q.predicted_probability, coalesce(w.weight, 0) as weight
from label_quality q
join current_runs c on c.run_id = q.run_id and c.step = 'align'
join synthetic s on s.id = q.id
left join weights w on w.run_id = q.run_id and w.id = q.id
where q.predicted <> s.label and not exists (select 1 from exclusions e where e.id = s.id)
order by q.quality, s.id
