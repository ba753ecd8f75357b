-- The current rounds, one a line: what was selected, what came of it, and whether it was worth it.
-- selections, first_variance, last_variance: of its selections: the variance before the first and the last
-- max_variance_before, max_variance_left: over the centroids of all clusters, before the first pick and after the last
-- generated: records that the language model wrote for it; records, mmd2_without, mmd2_with, improvement,
--     improvement_error, mmd2_floor, effective_share, decision: of the newest judgement, see rounds; null before it
-- needs: selections, uncertainty, synthetic, rounds, selection_rounds, run_order
with picked as (
    select run_id, count(*) as selections, arg_min(variance_before, step) as first_variance,
        arg_max(variance_before, step) as last_variance, arg_max(stop_reason, step) as stop_reason
    from selections group by run_id
),
spread as (
    select run_id, max(variance_before) as before, max(variance_after) as left_over from uncertainty group by run_id
),
written as (
    select s.run_id, count(*) as generated
    from synthetic y join selections s on s.selection_id = y.selection_id
    group by s.run_id
),
judged as (
    select d.*, row_number() over (partition by d.select_run_id order by o.sequence desc) as place
    from rounds d join run_order o on o.run_id = d.run_id
)
select c.round, coalesce(p.selections, 0) as selections, p.first_variance, p.last_variance,
    u.before as max_variance_before, u.left_over as max_variance_left, p.stop_reason,
    coalesce(w.generated, 0) as generated, j.records, j.mmd2_without, j.mmd2_with, j.improvement, j.improvement_error,
    j.mmd2_floor, j.effective_share, j.decision, c.run_id as select_run_id
from selection_rounds c
left join picked p on p.run_id = c.run_id
left join spread u on u.run_id = c.run_id
left join written w on w.run_id = c.run_id
left join judged j on j.select_run_id = c.run_id and j.place = 1
order by c.round
