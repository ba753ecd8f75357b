-- How often a record without an id of its own came in one ingest; of several ingests, the largest count. Records that
-- always came once are not listed.
-- key: origin, id
-- origin: `real` or `synthetic`
-- id: the record's id
-- multiplicity: how often the record came
-- needs: runs
select m.origin, m.id, max(m.multiplicity) as multiplicity
from raw_multiplicities m join main.runs r on r.run_id = m.run_id
group by m.origin, m.id
