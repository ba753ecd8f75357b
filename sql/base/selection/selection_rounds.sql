-- The runs of `select` that make up the current rounds: the current one, and those of earlier rounds that it builds on.
-- key: run_id
-- run_id: the run of `select`
-- round: the round's number
-- needs: runs, current_runs
with recursive chain(run_id) as (
    select run_id from detail.current_runs where step = 'select'
    union
    select r.run_id
    from chain c
    join main.runs later on later.run_id = c.run_id,
        unnest(later.inputs) as i(run_id)
        join main.runs r on r.run_id = i.run_id and r.step = 'select'
)
select c.run_id, r.round
from chain c join main.runs r on r.run_id = c.run_id
