-- Every selection of demonstrations, of current and earlier runs.
-- round: from 1; step: number within it, from 0
-- unit, cluster_id, record_id: what was picked; record_id is null where clusters are
-- variance_before, variance_after: posterior variance there, before and after taking it
-- score: what it was chosen by: variance_before * (mass / mean mass)^beta * gap
-- mass: real records of the unit, by multiplicity; gap: how far alignment found text missing there, null without guide
-- demonstrations: ids of real records, shown to the language model; shown_by: how they were chosen
-- length_scale_from: median, given, learned, or kernel: the kernel has its own; length_scales: one for each dimension
-- uninformative: whether the length scale is so short that all variances tie, and the picks are arbitrary
-- seconds: from the start of the selection to the pick; stop_reason: on the last step of a run, why it ended
-- needs: runs
select s.run_id, s.step, s.selection_id, s.round, s.unit, s.cluster_run_id, s.cluster_id, s.record_id, s.label,
    s.variance_before, s.variance_after, s.score, s.mass, s.gap, s.demonstrations, s.shown_by, s.kernel, s.length_scale,
    s.length_scale_from, s.length_scales, s.noise, s.uninformative, s.seconds, s.stop_reason
from raw_selections s join runs r on r.run_id = s.run_id
