-- What answering a message costs, and what order stands behind it: the team's orders joined to the messages.
-- Attached before: `warehouse`, the team's DuckDB file, and `synalign`, the catalog of a workspace, both read-only.
with reasons as (
    select contact_reason, avg(value) as order_value, avg(minutes) as minutes
    from warehouse.orders
    where contact_reason is not null
    group by contact_reason
),
messages as (
    -- as they were generated: each counts the same
    select 'synthetic, by count' as messages, label, 1.0 / count(*) over () as share from synalign.synthetic_weighted
    union all
    select 'synthetic, by weight', label, weight from synalign.synthetic_weighted
    union all
    select 'real', label, multiplicity / sum(multiplicity) over () from synalign.real where split = 'train'
)
select m.messages,
    sum(m.share) as share,
    sum(m.share * r.minutes) as minutes_a_message,
    sum(m.share * r.order_value) as order_value
from messages m
join reasons r on r.contact_reason = m.label
group by m.messages
order by m.messages
