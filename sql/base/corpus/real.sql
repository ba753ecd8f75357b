-- The real records that the user brought in. Columns of the user's file come after `run_id`.
-- in: main
-- example: select split, label, sum(multiplicity) as records from real group by all order by all
-- key: id
-- id: the user's id, else a hash of text, label and the split that the file names
-- text: the record's text
-- label: its label as a string; null without one
-- split: `train`, `validation` or `test`; only `train` is ever fitted on
-- run_id: the run of `ingest` that brought it
-- multiplicity: how often the record came; every count and share of records is weighted by it
-- needs: runs, multiplicities
select t.*, coalesce(m.multiplicity, 1) as multiplicity
from raw_real t
join main.runs r on r.run_id = t.run_id
left join detail.multiplicities m on m.origin = 'real' and m.id = t.id
