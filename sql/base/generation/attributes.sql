-- The linguistic attributes that records are written from: what the language model said of the demonstrations of a
-- selection, as it was stated; and sets that `generate` recombined across selections.
-- key: run_id, id
-- run_id: the run of `reason` or `generate` that wrote the row
-- id: name of this set of attributes
-- selection_id: the selection whose demonstrations it describes
-- call_id: the call that stated it; null for recombined sets
-- attributes: the attributes: list of {name, value}
-- needs: runs
select a.* from raw_attributes a join main.runs r on r.run_id = a.run_id
