-- Demonstrations that are no real records, or not of the training split: a language model was shown what is kept for testing.
-- cure: select anew with another seed or budget; text that was written from them is to be excluded
-- needs: raw_runs, kept_selections, kept_real
select s.run_id, s.selection_id, s.id, t.split
from (select run_id, selection_id, unnest(demonstrations) as id from kept_selections) s
join raw_runs r on r.run_id = s.run_id
left join kept_real t on t.id = s.id
where t.split <> 'train'
    or (t.id is null and not exists (from forgettings f where f.sequence > r.sequence))
