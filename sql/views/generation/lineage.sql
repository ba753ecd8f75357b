-- Where each generated record came from. Ingested records are not in it.
-- example: select id, model, attributes, demonstration_ids from lineage limit 10
-- key: id
-- id: the synthetic record
-- text: its text
-- label: its label
-- written_from: `attributes`, `recombined`, `demonstrations` or `document`, see `synthetic`
-- attributes: list of {name, value}; null where it was written from demonstrations alone
-- attributes_id: their name
-- call_id: the call that wrote it
-- model: the model
-- template_hash: hash of the prompt's template
-- finished_at: of the call, UTC
-- selection_id: the selection
-- selection_step: its step
-- cluster_id: its cluster
-- demonstration_ids: real records that the model was shown
-- generate_run_id: the generate run
-- reason_run_id: the run that wrote the attributes: of reason, or of generate where they were recombined
-- select_run_id: the select run
-- cluster_run_id: the cluster run
-- needs: synthetic, attributes, selections, calls
select y.id, y.text, y.label, y.written_from, a.attributes, y.attributes_id, y.call_id, c.model, c.template_hash, c.finished_at,
    y.selection_id, s.step as selection_step, s.cluster_id, s.demonstrations as demonstration_ids,
    y.run_id as generate_run_id, a.run_id as reason_run_id, s.run_id as select_run_id, s.cluster_run_id
from main.synthetic y
join detail.selections s on s.selection_id = y.selection_id
left join detail.attributes a on a.id = y.attributes_id
left join detail.calls c on c.call_id = y.call_id
