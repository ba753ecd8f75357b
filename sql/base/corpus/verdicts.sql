-- Every decision of a person to take a synthetic record out (`exclude`) or back (`include`). The last one on a record
-- holds, see `exclusions`.
-- key: run_id, id
-- run_id: the run of `exclude` or `include`
-- id: the synthetic record
-- excluded: true: the record was taken out; false: it was taken back
-- reason: the reason that the person gave, else the SQL condition that chose the record
-- needs: runs
select e.run_id, e.id, e.excluded, e.reason from raw_exclusions e join main.runs r on r.run_id = e.run_id
