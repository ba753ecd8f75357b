-- Rows of runs that never finished. No query shows them.
-- kind: leftover
-- cure: 'synalign gc DIR' removes them
-- needs: raw_runs, owned
select o.source, o.run_id, o.rows
from owned o
anti join raw_runs r on r.run_id = o.run_id
