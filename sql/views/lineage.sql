-- Where each generated record came from: record, attributes, call, demonstrations, cluster.
-- text: of the synthetic record; demonstration_ids: real records that the model was shown
-- written_from: attributes of the selection, recombined (attributes drawn across selections), or demonstrations alone
-- needs: synthetic, attributes, selections, calls
select y.id, y.text, y.label, y.written_from, a.attributes, y.attributes_id, y.call_id, c.model, c.template_hash, c.finished_at,
    y.selection_id, s.step as selection_step, s.cluster_id, s.demonstrations as demonstration_ids,
    y.run_id as generate_run_id, a.run_id as reason_run_id, s.run_id as select_run_id, s.cluster_run_id
from synthetic y
join selections s on s.selection_id = y.selection_id
left join attributes a on a.id = y.attributes_id
left join calls c on c.call_id = y.call_id
