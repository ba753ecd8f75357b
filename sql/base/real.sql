-- The real records.
-- id: given, or a hash of text, label and the split that the file names (train as none)
-- split: train, validation or test; only train is ever fitted on
-- multiplicity: how often the record came; it counts in every distribution
-- needs: runs, multiplicities
select t.*, coalesce(m.multiplicity, 1) as multiplicity
from raw_real t
join runs r on r.run_id = t.run_id
left join multiplicities m on m.origin = 'real' and m.id = t.id
