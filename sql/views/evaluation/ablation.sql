-- Does it help? What models trained on real, synthetic and mixed records are worth on the test split: the newest
-- `evaluate`, one method a row. Each figure is a mean over the seeds with its 95% t interval; all seeds draw and train
-- anew. Methods:
--
-- - real: the real training records alone
-- - synthetic, weighted: synthetic records alone, as they came and by the weights that `align` learns
-- - real+synthetic: both, the synthetic ones as they came: what `gain` is measured against
-- - real+random: with as many random synthetic records as the weights are worth
-- - real+weighted, real+resampled: with the weights as sample weights, and with a draw by them, the paper's way
-- - real+paper: with the paper's own objective, linear projections, and a draw
-- - real+quality: with label quality alone as weights
-- - real+importance: with the importance loss of arXiv 2410.21526
-- - real+dsir: with records drawn by the importance of their hashed n-grams (DSIR)
-- - real+current: with the weights that the workspace has, as they are
-- example: select method, accuracy, gain, gain_low, gain_high from ablation
-- key: method
-- method: what the model was trained on, in the list above
-- accuracy: mean accuracy on the test split
-- accuracy_low: lower end of the interval of `accuracy`
-- accuracy_high: upper end of the interval of `accuracy`
-- gain: mean of the paired difference of accuracy from `real+synthetic`
-- gain_low: lower end of the interval of `gain`
-- gain_high: upper end of the interval of `gain`
-- over_real: mean of the paired difference of accuracy from `real`
-- over_real_low: lower end of the interval of `over_real`
-- over_real_high: upper end of the interval of `over_real`
-- test_error: standard error of `accuracy` from the limited number of test records, which its interval does not include
-- gain_test_error: standard error of `gain` from the limited number of test records, which its interval does not
--     include
-- over_real_test_error: standard error of `over_real` from the limited number of test records, which its interval does
--     not include
-- macro_f1: mean of F1 over labels
-- macro_f1_low: lower end of the interval of `macro_f1`
-- macro_f1_high: upper end of the interval of `macro_f1`
-- log_loss: mean of -log of the probability of the true label, in nats
-- log_loss_low: lower end of the interval of `log_loss`
-- log_loss_high: upper end of the interval of `log_loss`
-- calibration_error: expected calibration error
-- calibration_error_low: lower end of the interval of `calibration_error`
-- calibration_error_high: upper end of the interval of `calibration_error`
-- share: mean share of the synthetic records in all sample weight; 0 where cross-validation chose none of them
-- effective_size: mean effective sample size of the synthetic weights, 1 / sum(w^2), in records
-- real_records: number of real records in each draw
-- synthetic_records: number of synthetic records in each draw
-- seeds: number of draws
-- model: the kind of model
-- run_id: the run of `evaluate`
-- needs: evaluations, metrics, current_runs
with figures as (
    select m.scope as method, m.metric, m.value, m.low, m.high
    from detail.metrics m
    join detail.current_runs c on c.run_id = m.run_id and c.step = 'evaluate'
),
means as (
    select e.method, avg(e.share) as share, avg(e.effective_size) as effective_size, max(e.real_records) as real_records,
        max(e.synthetic_records) as synthetic_records, count(*) as seeds, any_value(e.model) as model,
        any_value(e.run_id) as run_id
    from detail.evaluations e
    join detail.current_runs c on c.run_id = e.run_id and c.step = 'evaluate'
    group by e.method
),
wide as (
    select method,
        max(value) filter (metric = 'accuracy') as accuracy,
        max(low) filter (metric = 'accuracy') as accuracy_low,
        max(high) filter (metric = 'accuracy') as accuracy_high,
        max(value) filter (metric = 'accuracy_gain') as gain,
        max(low) filter (metric = 'accuracy_gain') as gain_low,
        max(high) filter (metric = 'accuracy_gain') as gain_high,
        max(value) filter (metric = 'accuracy_over_real') as over_real,
        max(low) filter (metric = 'accuracy_over_real') as over_real_low,
        max(high) filter (metric = 'accuracy_over_real') as over_real_high,
        max(value) filter (metric = 'accuracy_test_error') as test_error,
        max(value) filter (metric = 'accuracy_gain_test_error') as gain_test_error,
        max(value) filter (metric = 'accuracy_over_real_test_error') as over_real_test_error,
        max(value) filter (metric = 'macro_f1') as macro_f1,
        max(low) filter (metric = 'macro_f1') as macro_f1_low,
        max(high) filter (metric = 'macro_f1') as macro_f1_high,
        max(value) filter (metric = 'log_loss') as log_loss,
        max(low) filter (metric = 'log_loss') as log_loss_low,
        max(high) filter (metric = 'log_loss') as log_loss_high,
        max(value) filter (metric = 'calibration_error') as calibration_error,
        max(low) filter (metric = 'calibration_error') as calibration_error_low,
        max(high) filter (metric = 'calibration_error') as calibration_error_high
    from figures
    group by method
)
select w.*, m.share, m.effective_size, m.real_records, m.synthetic_records, m.seeds, m.model, m.run_id
from wide w
join means m using (method)
order by w.accuracy desc, w.method
