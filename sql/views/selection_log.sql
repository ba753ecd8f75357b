-- The selections of the current rounds, step by step, with the texts that the language model was shown.
-- unit, cluster_id, record_id: what was picked; cluster_size, cluster_radius, label_mix: of the cluster it is, or is in
-- score: what it was chosen by, see selections; uninformative: the length scale makes all picks equal
-- demonstrations: texts of the real records; demonstration_ids: their ids
-- needs: selections, clusters, real, selection_rounds, label_names
with shown as (
    select s.run_id, s.step, list(r.text order by d.position) as texts
    from selections s
        join selection_rounds c on c.run_id = s.run_id,
        unnest(s.demonstrations) with ordinality as d(id, position)
        join real r on r.id = d.id
    group by s.run_id, s.step
)
select s.round, s.step, s.unit, s.cluster_id, s.record_id, k.size as cluster_size, k.radius as cluster_radius,
    k.label_mix, s.label, n.label_name, s.variance_before, s.variance_after, s.score, s.mass, s.gap,
    t.texts as demonstrations, s.demonstrations as demonstration_ids, s.shown_by, s.kernel, s.length_scale,
    s.length_scale_from, s.noise, s.uninformative, s.seconds, s.stop_reason, s.selection_id
from selections s
join selection_rounds c on c.run_id = s.run_id
left join clusters k on k.run_id = s.cluster_run_id and k.cluster_id = s.cluster_id
left join shown t on t.run_id = s.run_id and t.step = s.step
left join label_names n on n.label = s.label
order by s.round, s.step
