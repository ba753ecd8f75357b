-- The users of each arm, and when they were seen.
select arm, count(*) as users, sum(events)::bigint as events, min(first_event) as first_event,
    max(last_event) as last_event
from log_units
group by arm
order by arm
