-- What persons said of synthetic records, each time: the last verdict on a record counts, see `exclusions`.
-- key: run_id, id
-- run_id: the exclude run
-- id: the synthetic record
-- excluded: whether it was taken out; false: it was taken back
-- reason: what the person said, or the condition
-- needs: runs
select e.run_id, e.id, e.excluded, e.reason from raw_exclusions e join main.runs r on r.run_id = e.run_id
