-- Runs that wrote more rows, or fewer, than they counted; fewer is right where records were forgotten since.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: raw_runs, kept_real, kept_synthetic, kept_exclusions, kept_clusters, kept_cluster_members, kept_attributes, kept_annotations, kept_weights, kept_documents, kept_retrievers
select r.run_id, r.step, w.counted, count(t.run_id) as rows
from raw_runs r
join (
    select run_id, 'real' as source, recorded(counts, 'added') as counted
    from raw_runs where step = 'ingest' and named(counts, 'origin') = 'real'
    union all
    select run_id, 'synthetic', recorded(counts, 'added')
    from raw_runs where step = 'ingest' and named(counts, 'origin') = 'synthetic'
    union all
    select run_id, 'exclusions', coalesce(recorded(counts, 'excluded'), recorded(counts, 'taken back'))
    from raw_runs where step = 'exclude'
    union all
    select run_id, 'clusters', recorded(counts, 'clusters') from raw_runs where step = 'cluster'
    union all
    select run_id, 'cluster_members', recorded(counts, 'records') from raw_runs where step = 'assign'
    union all
    select run_id, 'attributes', recorded(counts, 'attributes') from raw_runs where step = 'reason'
    union all
    select run_id, 'annotations', recorded(counts, 'annotations') from raw_runs where step = 'annotate'
    union all
    select run_id, 'weights', recorded(counts, 'records') from raw_runs where step = 'align'
    union all
    select run_id, 'documents', recorded(counts, 'added') from raw_runs where step = 'documents'
    union all
    select run_id, 'retrievers', 1 from raw_runs where step = 'retriever'
) w on w.run_id = r.run_id
left join (
    select 'real' as source, run_id from kept_real
    union all
    select 'synthetic', run_id from kept_synthetic
    union all
    select 'exclusions', run_id from kept_exclusions
    union all
    select 'clusters', run_id from kept_clusters
    union all
    select 'cluster_members', run_id from kept_cluster_members
    union all
    select 'attributes', run_id from kept_attributes
    union all
    select 'annotations', run_id from kept_annotations
    union all
    select 'weights', run_id from kept_weights
    union all
    select 'documents', run_id from kept_documents
    union all
    select 'retrievers', run_id from kept_retrievers
) t on t.run_id = r.run_id and t.source = w.source
where w.counted is not null
group by r.run_id, r.step, r.sequence, w.counted
having rows <> w.counted
    and not (rows < w.counted and exists (from forgettings f where f.sequence > r.sequence))
