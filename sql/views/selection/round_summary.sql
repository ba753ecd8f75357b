-- The current rounds of selecting and generating, one a line: what was selected, what was generated, and whether it
-- helped. The columns from `records` to `decision` come from the newest evaluation of the round (see `rounds`), and are
-- null before there is one.
-- example: select round, selections, generated, improvement, improvement_error, decision from round_summary
-- key: round
-- round: the round's number, from 1
-- selections: number of selections of the round
-- first_variance: posterior variance at the first pick, before it
-- last_variance: posterior variance at the last pick, before it
-- max_variance_before: largest posterior variance at a centroid before the round's first pick
-- max_variance_left: largest posterior variance at a centroid after the round's last pick
-- stop_reason: why the selection ended; null where nothing was selected
-- generated: records that the language model wrote for the round
-- records: synthetic records that came in the round, ingested ones too
-- mmd2_without: squared MMD to held-out real records when weights are fitted without the round's records
-- mmd2_with: squared MMD to held-out real records when weights are fitted with the round's records
-- improvement: `mmd2_without` - `mmd2_with`
-- improvement_error: standard error of `improvement`
-- mmd2_floor: squared MMD between two halves of the real records: what equal distributions give
-- effective_share: effective sample size of the weights over the number of synthetic records
-- decision: `continue`, or `stop` if `improvement` is not above `improvement_error`
-- select_run_id: the round's run of `select`
-- needs: selections, uncertainty, synthetic, rounds, selection_rounds, run_order
with picked as (
    select run_id, count(*) as selections, arg_min(variance_before, step) as first_variance,
        arg_max(variance_before, step) as last_variance, arg_max(stop_reason, step) as stop_reason
    from detail.selections group by run_id
),
spread as (
    select run_id, max(variance_before) as before, max(variance_after) as left_over from detail.uncertainty group by run_id
),
written as (
    select s.run_id, count(*) as generated
    from main.synthetic y join detail.selections s on s.selection_id = y.selection_id
    group by s.run_id
),
judged as (
    select d.*, row_number() over (partition by d.select_run_id order by o.sequence desc) as place
    from detail.rounds d join detail.run_order o on o.run_id = d.run_id
)
select c.round, coalesce(p.selections, 0) as selections, p.first_variance, p.last_variance,
    u.before as max_variance_before, u.left_over as max_variance_left, p.stop_reason,
    coalesce(w.generated, 0) as generated, j.records, j.mmd2_without, j.mmd2_with, j.improvement, j.improvement_error,
    j.mmd2_floor, j.effective_share, j.decision, c.run_id as select_run_id
from detail.selection_rounds c
left join picked p on p.run_id = c.run_id
left join spread u on u.run_id = c.run_id
left join written w on w.run_id = c.run_id
left join judged j on j.select_run_id = c.run_id and j.place = 1
order by c.round
