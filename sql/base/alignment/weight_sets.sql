-- The named weight sets. Of several align runs under one name, the one that finished, or was gone back to, last counts.
-- key: weight_set
-- weight_set: the name
-- run_id: the align run that it stands for
-- sequence: when it finished or was gone back to last, see `run_order`
-- is_current: whether `synthetic_weighted`, and all that is made of it, has these weights
-- records: how many records have a weight
-- total: the sum of the weights
-- needs: alignments, weights, run_order, current_runs
with latest as (
    select a.weight_set, arg_max(o.run_id, o.sequence) as run_id, max(o.sequence) as sequence
    from (select distinct run_id, weight_set from detail.alignments) a
    join detail.run_order o on o.run_id = a.run_id
    group by a.weight_set
),
totals as (select run_id, count(*) as records, sum(weight) as total from main.weights group by run_id)
select l.weight_set, l.run_id, l.sequence,
    exists (select 1 from detail.current_runs c where c.step = 'align' and c.run_id = l.run_id) as is_current,
    coalesce(t.records, 0) as records, coalesce(t.total, 0) as total
from latest l
left join totals t on t.run_id = l.run_id
