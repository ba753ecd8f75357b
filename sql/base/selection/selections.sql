-- Every selection of demonstrations, of current and earlier runs. A select run that stopped before its first pick has
-- none.
-- key: run_id, step
-- run_id: the select run that wrote the row, see `runs`
-- step: number within the run, from 0
-- selection_id: its name
-- round: round of selecting and generating, from 1; 0 for selections of versions that had no rounds
-- unit: what was picked: `cluster` or `record`
-- cluster_run_id: the run whose clusters these are
-- cluster_id: the cluster that was picked, or that the picked record is in
-- record_id: the real record that was picked; null where a cluster was
-- label: the label to write for; null without labels
-- variance_before: posterior variance there, at the centroid or the record, before taking it
-- variance_after: and after; with `batch`, after the whole batch
-- score: what it was chosen by: `variance_before` * (`mass` / mean mass of all units)^beta * `gap`
-- mass: real training records of the unit, by multiplicity
-- gap: how far alignment found text missing there: the mean of `witness` over its real records, in units of the largest
--     of all units, and 0.01 at least; null without a guide or weights
-- demonstrations: ids of the real records that the model is shown
-- shown_by: how they were chosen: `spread`, `nearest` or `random`
-- kernel: kernel of the Gaussian process: an expression, or the description of a kernel object
-- length_scale: its length scale; of several, one for all dimensions; null for a kernel that has its own
-- length_scale_from: `median`, `given`, `learned`, or `kernel`: it has its own
-- length_scales: one for each dimension, with `ard`; else null
-- noise: its observation noise variance
-- uninformative: whether the length scale is so short that all variances tie, and the picks are arbitrary
-- seconds: from the start of the selection to the pick
-- stop_reason: on a run's last step, why it ended: `budget`, `min_variance`, `min_gain`, or `quotas` (no label has a
--     pick left)
-- needs: runs
select s.run_id, s.step, s.selection_id, s.round, s.unit, s.cluster_run_id, s.cluster_id, s.record_id, s.label,
    s.variance_before, s.variance_after, s.score, s.mass, s.gap, s.demonstrations, s.shown_by, s.kernel, s.length_scale,
    s.length_scale_from, s.length_scales, s.noise, s.uninformative, s.seconds, s.stop_reason
from raw_selections s join main.runs r on r.run_id = s.run_id
