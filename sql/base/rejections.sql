-- Generated records, whole replies (index -1) or parts of them that could not be read (below -1) that were refused.
-- reason: a rule of the relation checks, empty or surplus; or, of a reply: empty, not_json, truncated, wrong_shape,
--     broken_item, refused
-- detail: in words; text: of the record or the reply, as it came
-- needs: runs
select j.* from raw_rejections j join runs r on r.run_id = j.run_id
