-- The synthetic records: generated here, or ingested with `synthetic=True`, excluded ones too. Columns of the user's
-- file come after `run_id`.
-- in: main
-- example: select label, written_from, count(*) as records from synthetic group by all order by all
-- key: id
-- id: the user's id, else a hash of text, label and the split that the file names
-- text: the record's text
-- label: its label as a string; null without one
-- split: `train`, `validation` or `test`; only `train` is ever fitted on
-- run_id: the run of `ingest` or `generate` that brought it
-- call_id: the call to the language model that wrote it; null for ingested records
-- selection_id: the selection that it was written for; null where it was written for a document, and for ingested
--     records
-- attributes_id: the set of attributes that it was written from; null where it was written from demonstrations or a
--     document alone
-- written_from: `attributes` of the selection, `recombined` (attributes drawn across the selections of its label),
--     `demonstrations` alone, or a `document` alone; null for ingested records
-- multiplicity: how often the record came; every count and share of records is weighted by it
-- needs: runs, multiplicities
select t.*, coalesce(m.multiplicity, 1) as multiplicity
from raw_synthetic t
join main.runs r on r.run_id = t.run_id
left join detail.multiplicities m on m.origin = 'synthetic' and m.id = t.id
