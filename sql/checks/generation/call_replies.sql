-- Calls that are said to be complete and have no reply.
-- cure: delete the call from the table calls and from ledger.sqlite: it is asked again
-- needs: all_calls
select call_id, run_id, step
from all_calls
where status = 'complete' and reply is null
