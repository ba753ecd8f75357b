-- The experiments of a log.
select experiment from log_experiments where experiment is not null group by experiment order by experiment limit 20
