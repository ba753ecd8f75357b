-- The synthetic records, generated or ingested with `synthetic=True`, excluded ones too, with the user's own columns.
-- in: main
-- example: select label, written_from, count(*) as records from synthetic group by all order by all
-- key: id
-- id: given, or a hash of text, label and the split that the file names
-- text: the text
-- label: its label as a string; null without one
-- split: `train`, `validation` or `test`; only `train` is ever fitted on
-- run_id: the ingest or generate run that brought it
-- call_id: the call that wrote it; null for ingested records
-- selection_id: the selection that it was written for; null for one of a document alone
-- attributes_id: the attributes that it was written from; null where it was written from demonstrations alone
-- written_from: `attributes` of the selection, `recombined` (attributes drawn across the selections of its label),
--     `demonstrations` alone, or a `document` alone; null for ingested records
-- multiplicity: how often the record came; it counts in every distribution
-- needs: runs, multiplicities
select t.*, coalesce(m.multiplicity, 1) as multiplicity
from raw_synthetic t
join main.runs r on r.run_id = t.run_id
left join detail.multiplicities m on m.origin = 'synthetic' and m.id = t.id
