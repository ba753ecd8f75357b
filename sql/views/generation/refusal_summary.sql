-- How many generated records each rule refused, for each run of generate and each model, the rule that refused most
-- first. Rules that refused none are left out.
-- example: select model, rule, refused, records, share from refusal_summary order by share desc
-- key: run_id, model, rule
-- run_id: the generate run
-- model: the model that wrote
-- rule: the rule: a column of `checks`
-- records: that came
-- accepted: of them
-- refused: those whose first failed rule it is
-- failed: those that fail it at all
-- share: `refused` of all that came
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
