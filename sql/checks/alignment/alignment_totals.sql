-- Weight sets without the row of `alignments` that stands for all labels together.
-- cure: align anew with another weight_set (--weight-set); or restore the workspace from a copy
-- needs: raw_runs, kept_alignments
select run_id
from raw_runs
where step = 'align'
    and run_id not in (select run_id from kept_alignments where stratum = '*')
