-- Every selection of demonstrations, of the current and of earlier runs. A run of `select` that stopped before its
-- first pick has no row.
-- key: run_id, step
-- run_id: the run of `select`
-- step: number of the selection within the run, from 0
-- selection_id: name of the selection, which generated records refer to
-- round: round of selecting and generating, from 1; 0 for selections of versions that had no rounds
-- unit: what was picked: `cluster` or `record`
-- cluster_run_id: the run whose clusters these are
-- cluster_id: the cluster that was picked, or that the picked record is in
-- record_id: the real record that was picked; null where a cluster was
-- label: the label to write for; null without labels
-- variance_before: posterior variance of the Gaussian process at the centroid or record before it was picked
-- variance_after: posterior variance of the Gaussian process at the centroid or record after it was picked; with
--     `batch`, after the whole batch
-- score: what it was picked by: `variance_before` * (`mass` / mean mass of all candidates)^beta * `gap`
-- mass: real training records of the cluster or record, by multiplicity
-- gap: how much text is missing there by the current weights: the mean of `witness` over its real records, as a share
--     of the largest of all candidates, at least 0.01; null where weights were not used or there were none
-- demonstrations: ids of the real records that the language model is shown
-- shown_by: how the demonstrations were chosen: `spread`, `nearest` or `random`
-- kernel: kernel of the Gaussian process: an expression, or the description of a kernel object
-- length_scale: length scale of the kernel; of several, one for all dimensions; null for a kernel that has its own
-- length_scale_from: where the length scale comes from: `median` (of the distances), `given`, `learned`, or `kernel`
--     (the kernel has its own)
-- length_scales: length scale of each dimension, with `ard`; else null
-- noise: observation noise variance of the Gaussian process
-- uninformative: true where the length scale is so short that all variances are equal, so that the picks are arbitrary
-- seconds: time from the start of the selection to this pick
-- stop_reason: on a run's last step, why it ended: `budget`, `min_variance`, `min_gain`, or `quotas` (no label may be
--     picked again); else null
-- needs: runs
select s.run_id, s.step, s.selection_id, s.round, s.unit, s.cluster_run_id, s.cluster_id, s.record_id, s.label,
    s.variance_before, s.variance_after, s.score, s.mass, s.gap, s.demonstrations, s.shown_by, s.kernel, s.length_scale,
    s.length_scale_from, s.length_scales, s.noise, s.uninformative, s.seconds, s.stop_reason
from raw_selections s join main.runs r on r.run_id = s.run_id
