-- The weight of a synthetic record in every weight set, with its rank among all (1 is the heaviest), what it is in
-- multiples of the average, and how well its label fits.
-- needs: weights, weight_sets, label_quality, runs
with ranked as (
    select w.run_id, w.id, w.weight, rank() over (partition by w.run_id order by w.weight desc) as place,
        w.weight * count(*) over (partition by w.run_id) / nullif(sum(w.weight) over (partition by w.run_id), 0)
            as times_average,
        count(*) over (partition by w.run_id) as records
    from main.weights w semi join detail.weight_sets k on k.run_id = w.run_id
)
select k.weight_set, k.is_current, w.weight, w.place as rank, w.records, w.times_average, q.quality as label_quality,
    q.predicted as predicted_label, q.predicted_probability, k.run_id, r.finished_at
from detail.weight_sets k
join ranked w on w.run_id = k.run_id
join main.runs r on r.run_id = k.run_id
left join detail.label_quality q on q.run_id = k.run_id and q.id = w.id
where w.id = $id and $origin = 'synthetic'
order by k.is_current desc, k.weight_set
