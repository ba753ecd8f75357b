-- What persons said of a synthetic record, in order.
-- needs: verdicts, runs
select v.excluded, v.reason, r.finished_at, v.run_id
from detail.verdicts v join main.runs r on r.run_id = v.run_id
where v.id = $id and $origin = 'synthetic'
order by r.sequence
