-- What the calls to language models cost, for each step and model.
-- example: select step, model, calls, cost_usd from call_costs
-- key: step, model
-- step: the step that asked
-- model: the language model
-- calls: number of calls
-- complete: calls that have a reply
-- failed: calls that have no reply yet, and will be asked again
-- refused: calls that were refused, and will not be asked again
-- attempts: requests that were sent, repeats included
-- prompt_tokens: prompt tokens of all calls
-- completion_tokens: completion tokens of all calls
-- cost_usd: cost of all calls; null where no prices are configured
-- median_latency_s: median seconds from request to reply
-- accepted: synthetic records that were made from the replies
-- usd_per_record: cost for each of these synthetic records
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
