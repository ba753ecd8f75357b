-- Tags of a state that never was.
-- cure: take the tag away: ws.untag(name)
-- needs: raw_runs, raw_activations, raw_tags
select number, name, sequence
from raw_tags
where not dropped
    and sequence not in (select sequence from raw_runs union all select sequence from raw_activations)
