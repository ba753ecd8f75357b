-- How many generated records each rule refused, for each run of `generate` and each model. The rule that refused most
-- comes first; rules that refused none are left out.
-- example: select model, rule, refused, records, share from refusal_summary order by share desc
-- key: run_id, model, rule
-- run_id: the run of `generate`
-- model: the language model that wrote
-- rule: the rule, a column of `checks`
-- records: records that the model wrote in the run
-- accepted: records of these that were kept
-- refused: records for which this is the first rule that they fail
-- failed: records that fail this rule, first or not
-- share: `refused` over `records`
-- needs: checks, calls
with results as (
    unpivot (
        select run_id, call_id, "index", accepted, reason, schema, label, language, length, duplicate, near_duplicate,
            too_similar, copied, too_near, refusal, leaked, personal, judge
        from detail.checks
    )
    on schema, label, language, length, duplicate, near_duplicate, too_similar, copied, too_near, refusal, leaked, personal,
        judge
    into name rule value passed
),
totals as (
    select k.run_id, c.model, count(*) as records, count(*) filter (k.accepted) as accepted
    from detail.checks k join detail.calls c on c.call_id = k.call_id
    group by k.run_id, c.model
)
select r.run_id, t.model, r.rule, t.records, t.accepted, count(*) filter (r.reason = r.rule) as refused,
    count(*) filter (not r.passed) as failed, count(*) filter (r.reason = r.rule) / t.records as share
from results r
join detail.calls c on c.call_id = r.call_id
join totals t on t.run_id = r.run_id and t.model = c.model
group by r.run_id, t.model, r.rule, t.records, t.accepted
having count(*) filter (not r.passed) > 0
order by r.run_id, refused desc, r.rule
