-- The experiments of a log.
-- needs:
select experiment from log_experiments where experiment is not null group by experiment order by experiment limit 20
