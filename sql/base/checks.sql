-- How generated records did by each rule, those that were refused too: a column for each rule, true where the record
-- passes, null where the rule is off or does not apply.
-- id: of the synthetic record, null if refused; reason: the first rule that it fails
-- near_duplicate_similarity: Jaccard similarity of 3-character pieces to the nearest synthetic record, from the threshold on
-- copied_share: share of its words in the longest run that a real record has too
-- cosine_to_synthetic, cosine_to_real: to the nearest record there was
-- needs: runs
select c.* from raw_checks c join runs r on r.run_id = c.run_id
