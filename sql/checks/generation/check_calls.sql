-- Checks, refusals and annotations of a call that is not there, and was not taken away with what was forgotten since.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: raw_runs, kept_checks, kept_rejections, kept_annotations, all_calls
select found.source, found.run_id, found.call_id
from (
    select 'checks' as source, run_id, call_id from kept_checks
    union all
    select 'rejections', run_id, call_id from kept_rejections
    union all
    select 'annotations', run_id, call_id from kept_annotations
) found
join raw_runs r on r.run_id = found.run_id
anti join all_calls c on c.call_id = found.call_id
where found.call_id is not null and not exists (from forgettings f where f.sequence > r.sequence)
