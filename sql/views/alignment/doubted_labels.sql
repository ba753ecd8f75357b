-- Synthetic records to which the real data would give another label than theirs, most doubted first. From the current
-- align run, without excluded records; one that has no weight there is shown too. To
-- take the worst of them out: `synalign exclude DIR "id in (select id from doubted_labels where quality < 0.05)"`.
-- example: select * from doubted_labels where quality < 0.05
-- key: id
-- id: the synthetic record
-- text: its text
-- label: its label
-- quality: the probability that the real data would give it this label
-- predicted: the label that they would give
-- predicted_probability: the probability of that one
-- weight: in the current set; 0 where it has none
-- needs: synthetic, label_quality, weights, current_runs, exclusions
select s.id, s.text, s.label, q.quality, q.predicted, q.predicted_probability, coalesce(w.weight, 0) as weight
from detail.label_quality q
join detail.current_runs c on c.run_id = q.run_id and c.step = 'align'
join main.synthetic s on s.id = q.id
left join main.weights w on w.run_id = q.run_id and w.id = q.id
where q.predicted <> s.label and not exists (select 1 from detail.exclusions e where e.id = s.id)
order by q.quality, s.id
