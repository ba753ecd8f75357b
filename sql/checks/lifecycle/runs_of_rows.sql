-- Measurements, rounds and weight sets that name a run which is not there.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: raw_runs, kept_metrics, kept_witness, kept_rounds, kept_alignments, kept_neighbours
select found.source, found.run_id, found.named
from (
    select 'metrics' as source, run_id, weights_run_id as named from kept_metrics
    union all
    select 'witness', run_id, weights_run_id from kept_witness
    union all
    select 'neighbours', run_id, weights_run_id from kept_neighbours
    union all
    select 'rounds', run_id, unnest([select_run_id, generate_run_id, align_run_id]) from kept_rounds
    union all
    select 'alignments', run_id, scored_from from kept_alignments
) found
anti join raw_runs r on r.run_id = found.named
where found.named is not null
group by all
