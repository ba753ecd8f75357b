-- What the language model said of the demonstrations of one selection, as it was stated; and the recombined attributes
-- that `generate` wrote from.
-- key: run_id, id
-- run_id: the run that wrote the row, see `runs`
-- id: name of this set of attributes
-- selection_id: the selection
-- call_id: the call that stated it; null where they were recombined
-- attributes: list of {name, value}
-- needs: runs
select a.* from raw_attributes a join main.runs r on r.run_id = a.run_id
