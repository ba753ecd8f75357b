-- Names that a person gave to states of the workspace: ws.at(name) shows one, and gc keeps what it needs.
-- key: name
-- name: the name
-- sequence: the state is the one after this run or activation, see `run_order`
-- state_at: when that was, UTC
-- note: what the person said of it
-- tagged_at: when the name was given, UTC
-- needs:
select name, sequence, state_at, note, tagged_at
from (select *, row_number() over (partition by name order by number desc) as place from raw_tags)
where place = 1 and not dropped
