-- Where each generated record came from: attributes, call, selection and demonstrations. Ingested records are not in
-- it.
-- example: select id, model, attributes, demonstration_ids from lineage limit 10
-- key: id
-- id: the synthetic record
-- text: text of the record
-- label: label of the record
-- written_from: `attributes`, `recombined`, `demonstrations` or `document`, see `synthetic`
-- attributes: the attributes that it was written from: list of {name, value}; null without any
-- attributes_id: name of the set of attributes
-- call_id: the call that wrote it
-- model: the language model that wrote it
-- template_hash: hash of the prompt's template
-- finished_at: when the reply came, UTC
-- selection_id: the selection that it was written for
-- selection_step: number of the selection within its run, from 0
-- cluster_id: cluster that the selection picked, or whose record it picked
-- demonstration_ids: ids of the real records that the language model was shown
-- generate_run_id: the run of `generate`
-- reason_run_id: the run that wrote the attributes: of `reason`, or of `generate` where they were recombined
-- select_run_id: the run of `select`
-- cluster_run_id: the run of `cluster`
-- needs: synthetic, attributes, selections, calls
select y.id, y.text, y.label, y.written_from, a.attributes, y.attributes_id, y.call_id, c.model, c.template_hash, c.finished_at,
    y.selection_id, s.step as selection_step, s.cluster_id, s.demonstrations as demonstration_ids,
    y.run_id as generate_run_id, a.run_id as reason_run_id, s.run_id as select_run_id, s.cluster_run_id
from main.synthetic y
join detail.selections s on s.selection_id = y.selection_id
left join detail.attributes a on a.id = y.attributes_id
left join detail.calls c on c.call_id = y.call_id
