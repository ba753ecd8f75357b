-- Complete calls with one reply in `calls` and another in the ledger.
-- cure: keep the one that the synthetic records were made of, which is that of the table calls: 'synalign gc' drops the other
-- needs: raw_calls, raw_all_ledger
select c.call_id, c.run_id, c.step
from raw_calls c
join raw_all_ledger l on l.call_id = c.call_id
where c.status = 'complete' and l.status = 'complete' and c.reply is distinct from l.reply
