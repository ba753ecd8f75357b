-- The named weight sets. Where several runs of `align` used one name, the name stands for the one that finished, or was
-- gone back to, last.
-- key: weight_set
-- weight_set: name of the set
-- run_id: the run of `align` or `score` that the name stands for
-- sequence: when that run finished or was gone back to last, see `run_order`
-- is_current: whether this set is in use: `synthetic_weighted`, samples and exports have its weights
-- records: number of records that have a weight
-- total: sum of the weights
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
