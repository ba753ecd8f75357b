-- How often a record without an id of its own came in one ingest; records that came once are not listed.
-- needs: runs
select m.origin, m.id, max(m.multiplicity) as multiplicity
from raw_multiplicities m join runs r on r.run_id = m.run_id
group by m.origin, m.id
