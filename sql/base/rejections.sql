-- Generated records, or whole replies (index -1), that were refused, and why.
-- needs: runs
select j.* from raw_rejections j join runs r on r.run_id = j.run_id
