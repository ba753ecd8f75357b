-- Multiplicities below 1, or of a record that is not there.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: raw_runs, kept_multiplicities, records
select m.run_id, m.origin, m.id, m.multiplicity
from kept_multiplicities m
join raw_runs r on r.run_id = m.run_id
left join records t on t.origin = m.origin and t.id = m.id
where m.multiplicity is null or m.multiplicity < 1
    or (t.id is null and not exists (from forgettings f where f.sequence > r.sequence))
