-- Rows of a log that belong to no user, or to no arm.
select count(*) filter (unit is null) as without_user, count(*) filter (unit is not null and arm is null) as without_arm
from log_events
where unit is null or arm is null
