-- Synthetic records that a person took out with `exclude`, and did not take back with `include`.
-- key: id
-- id: the synthetic record
-- reason: the reason that the person gave, else the SQL condition that chose the record
-- needs: runs
select id, reason
from (
    select e.id, arg_max(e.excluded, r.sequence) as excluded, arg_max(e.reason, r.sequence) as reason
    from raw_exclusions e join main.runs r on r.run_id = e.run_id
    group by e.id
)
where excluded
