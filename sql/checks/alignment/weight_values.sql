-- Weights that are negative, infinite or not there.
-- cure: align anew with another weight_set (--weight-set), or restore the workspace from a copy
-- needs: kept_weights
select run_id, weight_set, id, weight
from kept_weights
where not coalesce(isfinite(weight) and weight >= 0, false)
