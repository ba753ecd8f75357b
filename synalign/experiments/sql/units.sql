-- What each user did in each arm: the sum of every counted column, its least value, and how many rows had none.
select unit, arm, count(*) as events, min(happened_at) as first_event, max(happened_at) as last_event,
    sum(columns('^m\d+$')) as "sum_\0", min(columns('^m\d+$')) as "least_\0",
    count(*) - count(columns('^m\d+$')) as "missing_\0"
from log_events
where unit is not null and arm is not null
group by unit, arm
