-- The selections of the current rounds, step by step, with the texts that the language model was shown.
-- example: select round, step, cluster_id, label, variance_before, variance_after, demonstrations from selection_log
-- key: round, step
-- round: the round's number, from 1
-- step: number of the selection within the round, from 0
-- unit: what was picked: `cluster` or `record`
-- cluster_id: the cluster that was picked, or that the picked record is in
-- record_id: the real record that was picked; null where a cluster was
-- cluster_size: real training records in the cluster, by multiplicity
-- cluster_radius: distance of the farthest real training record to the cluster's centroid
-- label_mix: shares of the labels in the cluster: list of {label, share}
-- label: the label to write for
-- label_name: what the label means, in words
-- variance_before: posterior variance of the Gaussian process at the centroid or record before it was picked
-- variance_after: posterior variance of the Gaussian process at the centroid or record after it was picked
-- score: what it was picked by, see `selections`
-- mass: real training records of the cluster or record, by multiplicity
-- gap: how much text is missing there by the current weights, see `selections`; null where weights were not used or
--     there were none
-- demonstrations: texts of the real records that the language model is shown
-- demonstration_ids: ids of the real records that the language model is shown
-- shown_by: how the demonstrations were chosen: `spread`, `nearest` or `random`
-- kernel: kernel of the Gaussian process
-- length_scale: length scale of the kernel; null for a kernel that has its own
-- length_scale_from: where the length scale comes from: `median` (of the distances), `given`, `learned` or `kernel`
--     (the kernel has its own)
-- noise: observation noise variance of the Gaussian process
-- uninformative: true where the length scale is so short that all variances are equal, so that the picks are arbitrary
-- seconds: time from the start of the round's selection to this pick
-- stop_reason: on the last step of a round, why it ended; else null
-- selection_id: name of the selection, which generated records refer to
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
