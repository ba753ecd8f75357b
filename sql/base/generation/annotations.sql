-- Attributes of single records that the language model stated, by `annotate`, one attribute a row. Where several runs
-- annotated a record, the last one holds.
-- key: origin, id, name
-- run_id: the run of `annotate`
-- origin: `real` or `synthetic`
-- id: the record's id
-- call_id: the call that stated it
-- name: name of the attribute
-- kind: kind of the attribute: always `category`, the only kind that `annotate` asks for
-- value: the value in the vocabulary of the workspace: in lower case, those that mean the same merged
-- stated: the value as the model wrote it
-- number: the value as a number, for the kind `number`; else null
-- needs: run_order
select a.* from raw_annotations a join detail.run_order r on r.run_id = a.run_id
qualify row_number() over (partition by a.origin, a.id, a.name order by r.sequence desc) = 1
