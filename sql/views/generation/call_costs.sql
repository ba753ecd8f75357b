-- What the calls of each step and model cost.
-- example: select step, model, calls, cost_usd from call_costs
-- key: step, model
-- step: the step
-- model: the model
-- calls: how many
-- complete: with a reply
-- failed: without one yet
-- refused: refused for good
-- attempts: tries, repeats included
-- prompt_tokens: sum
-- completion_tokens: sum
-- cost_usd: sum; null without prices
-- median_latency_s: median seconds to the reply
-- accepted: synthetic records that came of them
-- usd_per_record: cost over accepted records
-- needs: calls, synthetic
with accepted as (select call_id, count(*) as records from main.synthetic where call_id is not null group by call_id)
select c.step, c.model, count(*) as calls,
    count(*) filter (c.status = 'complete') as complete, count(*) filter (c.status = 'failed') as failed,
    count(*) filter (c.status = 'refused') as refused,
    sum(c.attempts) as attempts, sum(c.prompt_tokens) as prompt_tokens, sum(c.completion_tokens) as completion_tokens,
    sum(c.cost_usd) as cost_usd, median(c.latency_s) as median_latency_s,
    coalesce(sum(a.records), 0) as accepted,
    sum(c.cost_usd) / nullif(sum(a.records), 0) as usd_per_record
from detail.calls c left join accepted a on a.call_id = c.call_id
group by c.step, c.model
order by c.step, c.model
