-- What the language model said of single records, one attribute a row, by `annotate`. Of several runs that annotated a
-- record the last counts.
-- key: origin, id, name
-- run_id: the annotate run
-- origin: `real` or `synthetic`
-- id: the record's id
-- call_id: the call that stated it
-- name: the attribute
-- kind: `category`: others have no shares, and are not asked for
-- value: in the vocabulary, as in `attribute_values`
-- stated: as the model wrote it
-- number: as in `attribute_values`
-- needs: run_order
select a.* from raw_annotations a join detail.run_order r on r.run_id = a.run_id
qualify row_number() over (partition by a.origin, a.id, a.name order by r.sequence desc) = 1
