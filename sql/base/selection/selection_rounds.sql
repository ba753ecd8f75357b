-- The select runs of the current rounds: the current one, and those of the rounds before it that led to it.
-- key: run_id
-- run_id: the select run
-- round: its round
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
