-- What a dataset card says of the current alignment.
-- needs: alignment_summary
select * from alignment_summary where stratum = '*'
