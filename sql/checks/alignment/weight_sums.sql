-- Weight sets whose weights do not sum to 1; less is right where records were forgotten since.
-- cure: align anew with another weight_set (--weight-set), or restore the workspace from a copy
-- needs: raw_runs, kept_weights
select w.run_id, any_value(w.weight_set) as weight_set, sum(w.weight) as total
from kept_weights w
join raw_runs r on r.run_id = w.run_id
group by w.run_id, r.sequence
having coalesce(abs(total - 1) > 1e-6, true)
    and not coalesce(total < 1 and exists (from forgettings f where f.sequence > r.sequence), false)
