-- Synthetic records that a person took out. Of several verdicts on one record the last counts.
-- key: id
-- id: the record's id
-- reason: what the person said, or the condition
-- needs: runs
select id, reason
from (
    select e.id, arg_max(e.excluded, r.sequence) as excluded, arg_max(e.reason, r.sequence) as reason
    from raw_exclusions e join main.runs r on r.run_id = e.run_id
    group by e.id
)
where excluded
