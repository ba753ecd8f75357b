-- What happened since a time: one line for each run that finished, and for each that was made current again, in order.
-- What a run wrote is counted in the line of its finish; in the other lines the counts are null.
-- argument moment: a time or a date as text or timestamp, UTC; what happened at it or later is shown
-- argument attached_as: the name that the catalog is attached under, if it is neither opened nor in `use`: 'reviews'
--     after `attach '...' as reviews`. It is not needed in `ws.sql`
-- example: select * from changed_since('2026-11-20 09:00')
-- key: sequence
-- sequence: place in the order of runs, see `run_order`
-- happened_at: when it happened, UTC
-- what: `finished`, or `gone back to`: made current again
-- step: step of the run
-- run_id: the run
-- real_records: number of real records that the run brought
-- synthetic_records: number of synthetic records that the run brought
-- refused_records: number of generated records that the run refused, see `checks`
-- excluded_records: number of synthetic records that the run took out
-- included_records: number of synthetic records that the run took back in
-- weights: number of records that the run gave a weight, which may be 0
-- notes: what a person should know of the run
-- needs: runs, activations, real, synthetic, checks, verdicts, weights
create macro changed_since(moment, attached_as := null) as table
with runs as not materialized (from query_table(concat(attached_as || '.', 'main.runs'))),
activations as not materialized (from query_table(concat(attached_as || '.', 'detail.activations'))),
real as not materialized (from query_table(concat(attached_as || '.', 'main.real'))),
synthetic as not materialized (from query_table(concat(attached_as || '.', 'main.synthetic'))),
checks as not materialized (from query_table(concat(attached_as || '.', 'detail.checks'))),
verdicts as not materialized (from query_table(concat(attached_as || '.', 'detail.verdicts'))),
weights as not materialized (from query_table(concat(attached_as || '.', 'main.weights'))),
asked as (
    select case when moment is null then error(
            'changed_since: give a time, such as changed_since(''2026-11-20''), not null.')
        else moment::timestamp end as since
),
happened as (
    select r.sequence, r.finished_at as happened_at, 'finished' as what, r.step, r.run_id, r.notes, r.run_id as wrote
    from runs r join asked k on r.finished_at >= k.since
    union all
    select a.sequence, a.activated_at, 'gone back to', a.step, a.run_id, null, null
    from activations a join asked k on a.activated_at >= k.since
),
counted as (
    select run_id, count(*) filter (kind = 'real') as real_records,
        count(*) filter (kind = 'synthetic') as synthetic_records,
        count(*) filter (kind = 'refused') as refused_records, count(*) filter (kind = 'excluded') as excluded_records,
        count(*) filter (kind = 'included') as included_records, count(*) filter (kind = 'weight') as weights
    from (
        select run_id, 'real' as kind from real
        union all
        select run_id, 'synthetic' from synthetic
        union all
        select run_id, 'refused' from checks where not accepted
        union all
        select run_id, case when excluded then 'excluded' else 'included' end from verdicts
        union all
        select run_id, 'weight' from weights
    )
    group by run_id
)
select h.sequence, h.happened_at, h.what, h.step, h.run_id,
    case when h.wrote is not null then coalesce(c.real_records, 0) end as real_records,
    case when h.wrote is not null then coalesce(c.synthetic_records, 0) end as synthetic_records,
    case when h.wrote is not null then coalesce(c.refused_records, 0) end as refused_records,
    case when h.wrote is not null then coalesce(c.excluded_records, 0) end as excluded_records,
    case when h.wrote is not null then coalesce(c.included_records, 0) end as included_records,
    case when h.wrote is not null then coalesce(c.weights, 0) end as weights,
    h.notes
from happened h left join counted c on c.run_id = h.wrote
order by h.sequence
