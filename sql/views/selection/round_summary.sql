-- The current rounds, one a line: what was selected, what came of it, and whether it was worth it. The columns from
-- `records` to `decision` are of the newest judgement, see `rounds`; null before there is one.
-- example: select round, selections, generated, improvement, improvement_error, decision from round_summary
-- key: round
-- round: number, from 1
-- selections: how many it made
-- first_variance: posterior variance before the first of them
-- last_variance: and before the last
-- max_variance_before: the largest over the centroids of all clusters, before the first pick
-- max_variance_left: and after the last
-- stop_reason: why the selection ended; null where it made none
-- generated: records that the language model wrote for it
-- records: synthetic records that came in the round, ingested ones too
-- mmd2_without: squared MMD to held-out real records, without the round's records
-- mmd2_with: and with them
-- improvement: the difference
-- improvement_error: its standard error
-- mmd2_floor: real against real
-- effective_share: effective sample size of the weights, over the number of records
-- decision: `continue` or `stop`
-- select_run_id: the round's select run
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
