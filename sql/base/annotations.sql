-- What the language model said of single records, one attribute a row, in the vocabulary of the workspace. Of several
-- runs that annotated a record the last counts.
-- origin, id: of the record
-- kind, value, stated, number: as in attribute_values
-- needs: run_order
select a.* from raw_annotations a join run_order r on r.run_id = a.run_id
qualify row_number() over (partition by a.origin, a.id, a.name order by r.sequence desc) = 1
