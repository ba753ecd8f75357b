-- Clusters that were made of more records, or fewer, than the training records of their inputs: records of a test or validation split may be among them.
-- cure: cluster anew: 'synalign cluster DIR --refit'
-- needs: raw_runs, kept_real
select r.run_id, recorded(r.counts, 'records') as clustered, count(t.id) as train_records
from raw_runs r
left join (select run_id, unnest(inputs) as input from raw_runs) i on i.run_id = r.run_id
left join kept_real t on t.run_id = i.input and t.split = 'train'
where r.step = 'cluster'
group by all
having clustered <> train_records
    and not (clustered > train_records and exists (from forgettings f where f.sequence > any_value(r.sequence)))
