-- Figures with their interval and sample sizes.
-- needs: runs
select m.* from raw_metrics m join runs r on r.run_id = m.run_id
