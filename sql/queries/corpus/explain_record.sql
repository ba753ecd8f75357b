-- A record as it is stored, with the user's own columns, and the run that brought it.
-- needs: real, synthetic, runs, exclusions, cluster_members, label_names
select 'real' as origin, y.* exclude (run_id), n.label_name, m.cluster_id, m.distance as distance_to_centroid,
    false as excluded, y.run_id as brought_by, r.step as brought_by_step, r.finished_at as brought_at
from main.real y
join main.runs r on r.run_id = y.run_id
left join detail.label_names n on n.label = y.label
left join detail.cluster_members m on m.origin = 'real' and m.id = y.id
where y.id = $id and $origin = 'real'
union all by name
select 'synthetic' as origin, y.* exclude (run_id), n.label_name, m.cluster_id, m.distance as distance_to_centroid,
    exists (select 1 from detail.exclusions e where e.id = y.id) as excluded, y.run_id as brought_by,
    r.step as brought_by_step, r.finished_at as brought_at
from main.synthetic y
join main.runs r on r.run_id = y.run_id
left join detail.label_names n on n.label = y.label
left join detail.cluster_members m on m.origin = 'synthetic' and m.id = y.id
where y.id = $id and $origin = 'synthetic'
