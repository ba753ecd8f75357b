-- The current selection, step by step, with the texts that the language model was shown.
-- cluster_size, cluster_radius: of the cluster taken
-- demonstrations: texts of the real records; demonstration_ids: their ids
-- needs: selections, clusters, real, current_runs, label_names
with shown as (
    select s.run_id, s.step, list(r.text order by d.position) as texts
    from selections s,
        unnest(s.demonstrations) with ordinality as d(id, position)
        join real r on r.id = d.id
    group by s.run_id, s.step
)
select s.step, s.round, s.cluster_id, k.size as cluster_size, k.radius as cluster_radius, s.label, n.label_name,
    s.variance_before, s.variance_after, s.max_remaining, s.score, t.texts as demonstrations,
    s.demonstrations as demonstration_ids, s.kernel, s.length_scale, s.noise, s.informative, s.stop_reason,
    s.selection_id
from selections s
join current_runs c on c.run_id = s.run_id and c.step = 'select'
left join clusters k on k.run_id = s.cluster_run_id and k.cluster_id = s.cluster_id
left join shown t on t.run_id = s.run_id and t.step = s.step
left join label_names n on n.label = s.label
order by s.step
