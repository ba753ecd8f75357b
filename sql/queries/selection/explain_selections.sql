-- The selections behind a record: of a synthetic one, that which it was written for; of a real one, all in which it was
-- shown to the language model or picked.
-- needs: selections, synthetic, clusters
select s.round, s.step, s.unit, s.cluster_id, s.record_id, s.label, s.variance_before, s.variance_after, s.score,
    s.mass, s.gap, s.shown_by, s.kernel, s.length_scale, s.demonstrations as demonstration_ids, s.selection_id, s.run_id
from detail.selections s
where case when $origin = 'synthetic'
    then s.selection_id = (select y.selection_id from main.synthetic y where y.id = $id)
    else s.record_id = $id or list_contains(s.demonstrations, $id) end
order by s.round, s.step, s.run_id
