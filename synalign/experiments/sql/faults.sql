-- What is wrong with each counted column: users whose sum is no number, users with a value below 0, rows without one.
select count_if(not isfinite(columns('^sum_(m\d+)$'))) as "endless_\1",
    count_if(columns('^least_(m\d+)$') < 0) as "negative_\1",
    sum(columns('^missing_(m\d+)$'))::bigint as "missing_\1"
from log_seen
