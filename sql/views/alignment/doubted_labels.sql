-- Synthetic records whose label a classifier of the real data would not give, most doubtful first. From the current run
-- of `align`, without excluded records; records without a weight are shown too. To take the worst of them out:
-- `synalign exclude DIR "id in (select id from doubted_labels where quality < 0.05)"`.
-- example: select * from doubted_labels where quality < 0.05
-- key: id
-- id: the synthetic record
-- text: text of the record
-- label: label of the record
-- quality: probability of the record's label given its text
-- predicted: the label of the largest probability
-- predicted_probability: probability of `predicted`
-- weight: weight of the record in the current set; 0 where it has none
-- needs: synthetic, label_quality, weights, current_runs, exclusions
select s.id, s.text, s.label, q.quality, q.predicted, q.predicted_probability, coalesce(w.weight, 0) as weight
from detail.label_quality q
join detail.current_runs c on c.run_id = q.run_id and c.step = 'align'
join main.synthetic s on s.id = q.id
left join main.weights w on w.run_id = q.run_id and w.id = q.id
where q.predicted <> s.label and not exists (select 1 from detail.exclusions e where e.id = s.id)
order by q.quality, s.id
