-- Users who were seen in more than one arm.
select count(*) as users, min(unit)::varchar as example
from (select unit from log_seen group by unit having count(*) > 1)
