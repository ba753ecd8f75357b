-- Why records and replies of language models were refused, day by day. Records are refused by the rules of `checks`;
-- replies, or parts of them, because they could not be read, see `rejections`.
-- example: select day, model, reason, share from refusals_over_time where unit = 'record'
-- key: day, model, unit, reason
-- day: when the call's outcome came, UTC
-- model: the language model that wrote
-- unit: what was refused: `record`, or `reply` for replies of which a part or the whole could not be read
-- reason: why it was refused, as in `rejections`
-- refused: number of records or replies that were refused for this reason
-- came: number of records or replies of that day and model, accepted ones too
-- share: `refused` over `came`
-- needs: calls, checks, rejections
with records as (
    select c.finished_at::date as day, c.model, 'record' as unit, k.reason, k.run_id, k.call_id, k."index" as part
    from detail.checks k join detail.calls c on c.call_id = k.call_id
),
replies as (
    select c.finished_at::date as day, c.model, 'reply' as unit, j.reason, c.call_id
    from detail.calls c
    left join (select distinct call_id, reason from detail.rejections where "index" < 0) j on j.call_id = c.call_id
    where c.status = 'complete' or j.call_id is not null
),
items as (
    select day, model, unit, reason, concat_ws(' ', run_id, call_id, part) as item from records
    union all
    select day, model, unit, reason, call_id from replies
),
totals as (select day, model, unit, count(distinct item) as came from items group by day, model, unit)
select i.day, i.model, i.unit, i.reason, count(distinct i.item) as refused, t.came,
    count(distinct i.item) / t.came as share
from items i
join totals t on t.day is not distinct from i.day and t.model is not distinct from i.model and t.unit = i.unit
where i.reason is not null
group by i.day, i.model, i.unit, i.reason, t.came
order by i.day, i.model, i.unit, refused desc, i.reason
