-- The selections of the current rounds, step by step, with the texts that the model was shown.
-- example: select round, step, cluster_id, label, variance_before, variance_after, demonstrations from selection_log
-- key: round, step
-- round: the round, from 1
-- step: number within it, from 0
-- unit: what was picked: `cluster` or `record`
-- cluster_id: the cluster that was picked, or that the picked record is in
-- record_id: the real record that was picked; null where a cluster was
-- cluster_size: size of the cluster
-- cluster_radius: its radius
-- label_mix: its labels: list of {label, share}
-- label: the label to write for
-- label_name: what it means
-- variance_before: posterior variance there before taking it
-- variance_after: and after
-- score: what it was chosen by, see `selections`
-- mass: real training records of the unit, by multiplicity
-- gap: how far alignment found text missing there, see `selections`; null without a guide
-- demonstrations: texts of the real records shown
-- demonstration_ids: their ids
-- shown_by: how they were chosen: `spread`, `nearest` or `random`
-- kernel: kernel of the Gaussian process
-- length_scale: its length scale; null for a kernel that has its own
-- length_scale_from: `median`, `given`, `learned` or `kernel`
-- noise: its noise variance
-- uninformative: whether the length scale is so short that all picks are equal
-- seconds: from the start of the round's selection to the pick
-- stop_reason: on the last step of a round, why it ended
-- selection_id: its name
-- needs: selections, clusters, real, selection_rounds, label_names
with shown as (
    select s.run_id, s.step, list(r.text order by d.position) as texts
    from detail.selections s
        join detail.selection_rounds c on c.run_id = s.run_id,
        unnest(s.demonstrations) with ordinality as d(id, position)
        join main.real r on r.id = d.id
    group by s.run_id, s.step
)
select s.round, s.step, s.unit, s.cluster_id, s.record_id, k.size as cluster_size, k.radius as cluster_radius,
    k.label_mix, s.label, n.label_name, s.variance_before, s.variance_after, s.score, s.mass, s.gap,
    t.texts as demonstrations, s.demonstrations as demonstration_ids, s.shown_by, s.kernel, s.length_scale,
    s.length_scale_from, s.noise, s.uninformative, s.seconds, s.stop_reason, s.selection_id
from detail.selections s
join detail.selection_rounds c on c.run_id = s.run_id
left join detail.clusters k on k.run_id = s.cluster_run_id and k.cluster_id = s.cluster_id
left join shown t on t.run_id = s.run_id and t.step = s.step
left join detail.label_names n on n.label = s.label
order by s.round, s.step
