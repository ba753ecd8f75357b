-- Embedders that were fitted to more texts than the training records of their inputs: texts of a test or validation split may be among them.
-- cure: fit anew: 'synalign embed DIR --refit'
-- needs: raw_runs, kept_embedders, embedded
select e.run_id, e.name, e.texts, count(t.id) as train_records
from kept_embedders e
join raw_runs r on r.run_id = e.run_id
left join (select run_id, unnest(inputs) as input from raw_runs) i on i.run_id = r.run_id
left join embedded t on t.run_id = i.input and t.split = 'train'
where len(e.fitted_on) > 0
group by all
having e.texts > train_records and not exists (from forgettings f where f.sequence > any_value(r.sequence))
