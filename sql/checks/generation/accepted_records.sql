-- Generated records that passed every check, and are not among the synthetic records; those that a person had forgotten aside.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: raw_runs, kept_checks, kept_synthetic
select c.run_id, c.call_id, c.index, c.id
from kept_checks c
join raw_runs r on r.run_id = c.run_id
where c.accepted
    and not exists (from kept_synthetic s where s.id = c.id)
    and not exists (from forgettings f where f.sequence > r.sequence)
