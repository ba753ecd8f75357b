-- Names that a person gave to states of the workspace. `ws.at(name)` shows such a state, and `gc` keeps what it needs.
-- key: name
-- name: the tag
-- sequence: last run or activation that the state includes, see `run_order`
-- state_at: when that run or activation happened, UTC
-- note: what the person noted
-- tagged_at: when the tag was given, UTC
-- needs:
select name, sequence, state_at, note, tagged_at
from (select *, row_number() over (partition by name order by number desc) as place from raw_tags)
where place = 1 and not dropped
