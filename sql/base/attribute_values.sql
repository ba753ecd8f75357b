-- What the language model said of demonstrations, one attribute a row, in the vocabulary of the workspace.
-- attributes_id: of the relation attributes
-- kind: category, number or text
-- value: in the vocabulary, for a category after values that mean the same were merged; stated: as the model wrote it
-- number: of a kind number, where the value is one; added: the model named the attribute, it was not asked for
-- needs: runs
select a.* from raw_attribute_values a join runs r on r.run_id = a.run_id
