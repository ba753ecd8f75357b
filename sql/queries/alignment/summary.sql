-- The lines of alignment_summary for the weights that are in use.
-- needs: alignment_summary
select * from main.alignment_summary where is_current
