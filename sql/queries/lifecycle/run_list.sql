-- Every finished run in the order in which they finished: what ws.runs() returns.
-- is_current: later steps and views build on it; of ingests, exclusions and the like all count, and it is null
-- gone_back_to: when it was last made current again, UTC
-- tags: names of the states between this run and the next
-- needs: runs, activations, current_runs, tags
with placed as (
    select r.*, lead(r.sequence, 1, 9223372036854775807) over (order by r.sequence) as next_sequence from main.runs r
)
select r.sequence, r.step, r.run_id, r.round, r.finished_at, r.seconds,
    case when r.step in ('embedder', 'cluster', 'select', 'reason', 'generate', 'align')
        then exists (select 1 from detail.current_runs c where c.run_id = r.run_id) end as is_current,
    (select max(a.activated_at) from detail.activations a where a.run_id = r.run_id) as gone_back_to,
    (select list(t.name order by t.name) from detail.tags t
        where t.sequence >= r.sequence and t.sequence < r.next_sequence)
        as tags,
    r.counts, r.parameters, r.notes, r.package_version
from placed r
order by r.sequence
