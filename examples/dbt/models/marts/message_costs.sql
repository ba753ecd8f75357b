-- One row for each reason to write: what share of messages it has, and what the orders behind them cost.
with reasons as (
    select
        contact_reason as reason,
        count(*) as orders,
        avg(value) as order_value,
        avg(minutes) as minutes
    from {{ ref('orders') }}
    where contact_reason is not null
    group by contact_reason
),

messages as (
    select
        reason,
        count(*) as messages,
        sum(weight) as share,
        sum(weight * words) / sum(weight) as words
    from {{ ref('stg_synthetic_messages') }}
    group by reason
)

select
    m.reason,
    m.messages,
    m.share,
    m.words,
    r.orders,
    r.order_value,
    r.minutes,
    m.share * r.minutes as minutes_a_message
from messages as m
inner join reasons as r on m.reason = r.reason
