-- What the language model said of the demonstrations of one selection, as named values.
-- needs: runs
select a.* from raw_attributes a join runs r on r.run_id = a.run_id
