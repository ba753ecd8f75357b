-- Weights of a synthetic record that is not there.
-- cure: align anew with another weight_set (--weight-set), or restore the workspace from a copy
-- needs: raw_runs, kept_weights, kept_synthetic
select w.run_id, w.weight_set, w.id
from kept_weights w
join raw_runs r on r.run_id = w.run_id
anti join kept_synthetic s on s.id = w.id
where not exists (from forgettings f where f.sequence > r.sequence)
