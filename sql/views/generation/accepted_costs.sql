-- What an accepted record cost, for each run of `generate` and model: by the calls of that run alone, and with those of
-- the run of `reason` whose attributes it wrote from. A reply that an earlier run had paid for is counted in every run
-- that used it.
-- example: select run_id, model, accepted, usd_per_accepted_with_reason from accepted_costs
-- key: run_id, model
-- run_id: the run of `generate`
-- model: the language model that wrote
-- calls: number of requests of the run, those to the judge included
-- records: number of records that the model wrote
-- accepted: number of records that were kept
-- prompt_tokens: prompt tokens of the run's calls
-- completion_tokens: completion tokens of the run's calls
-- cost_usd: cost of the run's calls; null where no prices are configured
-- tokens_per_accepted: prompt and completion tokens for each accepted record; null where none was accepted
-- usd_per_accepted: cost for each accepted record; null without prices, or where none was accepted
-- reason_run_id: the run of `reason` that the run read; null where it wrote from demonstrations alone
-- reason_calls: requests of the run of `reason`; where several models wrote, the line of each has all of them
-- reason_tokens: prompt and completion tokens of the run of `reason`
-- reason_cost_usd: cost of the run of `reason`; null where no prices are configured
-- tokens_per_accepted_with_reason: prompt and completion tokens of both runs for each accepted record
-- usd_per_accepted_with_reason: cost of both runs for each accepted record
-- needs: calls, checks, attributes, runs
with used as (
    select run_id, call_id from detail.calls where step in ('reason', 'generate')
    union
    select run_id, call_id from detail.checks
    union
    select run_id, call_id from detail.attributes where call_id is not null
),
spent as (
    select u.run_id, c.model, count(*) as calls, sum(c.prompt_tokens) as prompt_tokens,
        sum(c.completion_tokens) as completion_tokens, sum(c.cost_usd) as cost_usd
    from used u join detail.calls c on c.call_id = u.call_id
    group by u.run_id, c.model
),
came as (
    select k.run_id, c.model, count(*) as records, count(*) filter (k.accepted) as accepted
    from detail.checks k join detail.calls c on c.call_id = k.call_id
    group by k.run_id, c.model
),
reasons as (
    select r.run_id, s.run_id as reason_run_id, sum(p.calls) as calls,
        sum(p.prompt_tokens) + sum(p.completion_tokens) as tokens, sum(p.cost_usd) as cost_usd
    from main.runs r, unnest(r.inputs) as i(run_id)
        join main.runs s on s.run_id = i.run_id and s.step = 'reason'
        left join spent p on p.run_id = s.run_id
    where r.step = 'generate'
    group by r.run_id, s.run_id
)
select r.run_id, p.model, p.calls, coalesce(k.records, 0) as records, coalesce(k.accepted, 0) as accepted,
    p.prompt_tokens, p.completion_tokens, p.cost_usd,
    (p.prompt_tokens + p.completion_tokens) / nullif(k.accepted, 0) as tokens_per_accepted,
    p.cost_usd / nullif(k.accepted, 0) as usd_per_accepted,
    s.reason_run_id, s.calls as reason_calls, s.tokens as reason_tokens, s.cost_usd as reason_cost_usd,
    (p.prompt_tokens + p.completion_tokens + case when s.calls > 0 then s.tokens else 0 end) / nullif(k.accepted, 0)
        as tokens_per_accepted_with_reason,
    (p.cost_usd + case when s.calls > 0 then s.cost_usd else 0 end) / nullif(k.accepted, 0)
        as usd_per_accepted_with_reason
from main.runs r
join spent p on p.run_id = r.run_id
left join came k on k.run_id = p.run_id and k.model is not distinct from p.model
left join reasons s on s.run_id = r.run_id
where r.step = 'generate'
order by r.sequence, p.model
