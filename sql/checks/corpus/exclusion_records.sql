-- Verdicts on a synthetic record that is not there.
-- cure: nothing has to be done; the verdict has no effect
-- needs: raw_runs, kept_exclusions, kept_synthetic
select e.run_id, e.id
from kept_exclusions e
join raw_runs r on r.run_id = e.run_id
anti join kept_synthetic s on s.id = e.id
where not exists (from forgettings f where f.sequence > r.sequence)
