-- How accuracy grows with the number of real records, with and without synthetic ones: the newest `learning_curve`, one
-- method and number of real records a row. `ablation` describes the methods.
-- example: select method, real_records, accuracy, accuracy_low, accuracy_high from learning_curve
-- key: method, real_records
-- method: what the model was trained on, see `ablation`
-- real_records: number of real records in each draw
-- accuracy: mean accuracy on the test split
-- accuracy_low: lower end of the 95% interval of `accuracy` over the seeds
-- accuracy_high: upper end of the 95% interval of `accuracy` over the seeds
-- over_real: mean of the paired difference of accuracy from the same number of real records alone
-- over_real_low: lower end of the interval of `over_real`
-- over_real_high: upper end of the interval of `over_real`
-- worth: number of real records alone that give the same accuracy; null where no number that was tried does
-- worth_low: lower end of the interval of `worth`; null where it is below the smallest number that was tried
-- worth_high: upper end of the interval of `worth`; null where it is above the largest number that was tried
-- macro_f1: mean of F1 over labels
-- log_loss: mean of -log of the probability of the true label, in nats
-- calibration_error: expected calibration error
-- share: mean share of the synthetic records in all sample weight
-- synthetic_records: number of synthetic records in each draw
-- seeds: number of draws
-- model: the kind of model
-- run_id: the run of `learning_curve`
-- needs: evaluations, metrics, current_runs
with means as (
    select e.run_id, e.method, e.real_records, avg(e.accuracy) as accuracy, avg(e.macro_f1) as macro_f1,
        avg(e.log_loss) as log_loss, avg(e.calibration_error) as calibration_error, avg(e.share) as share,
        max(e.synthetic_records) as synthetic_records, count(*) as seeds, any_value(e.model) as model
    from detail.evaluations e
    join detail.current_runs c on c.run_id = e.run_id and c.step = 'learning_curve'
    group by e.run_id, e.method, e.real_records
),
wide as (
    select run_id, scope,
        max(low) filter (metric = 'accuracy') as accuracy_low,
        max(high) filter (metric = 'accuracy') as accuracy_high,
        max(value) filter (metric = 'accuracy_over_real') as over_real,
        max(low) filter (metric = 'accuracy_over_real') as over_real_low,
        max(high) filter (metric = 'accuracy_over_real') as over_real_high,
        max(value) filter (metric = 'real_labels_worth') as worth,
        max(low) filter (metric = 'real_labels_worth') as worth_low,
        max(high) filter (metric = 'real_labels_worth') as worth_high
    from detail.metrics
    group by run_id, scope
)
select m.method, m.real_records, m.accuracy, w.accuracy_low, w.accuracy_high, w.over_real, w.over_real_low,
    w.over_real_high, w.worth, w.worth_low, w.worth_high, m.macro_f1, m.log_loss, m.calibration_error, m.share,
    m.synthetic_records, m.seeds, m.model, m.run_id
from means m
join wide w on w.run_id = m.run_id and w.scope = m.method || '@' || m.real_records
order by m.method, m.real_records
