-- What was learned of a record that is not there: quality of labels, witness values, neighbours, members of clusters, rankings.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: raw_runs, kept_label_quality, kept_witness, kept_neighbours, kept_cluster_members, kept_rankings, records
select found.source, found.run_id, found.origin, found.id
from (
    select 'label_quality' as source, run_id, 'synthetic' as origin, id from kept_label_quality
    union all
    select 'witness', run_id, 'real', id from kept_witness
    union all
    select 'neighbours', run_id, origin, id from kept_neighbours
    union all
    select 'cluster_members', run_id, origin, id from kept_cluster_members
    union all
    select 'rankings', run_id, 'real', query_id from kept_rankings
) found
join raw_runs r on r.run_id = found.run_id
anti join records t on t.origin = found.origin and t.id = found.id
where not exists (from forgettings f where f.sequence > r.sequence)
