-- What a dataset card says of the current alignment.
-- needs: alignment_summary, synthetic_weighted, calls, real
select a.weight_set as "weight set", a.embedder, a.real_records as "real records aligned to",
    a.synthetic_records as "synthetic records",
    (select coalesce(string_agg(distinct c.model, ', ' order by c.model), 'not generated here')
        from main.synthetic_weighted w join detail.calls c on c.call_id = w.call_id) as "written by",
    a.effective_share as "effective share of the records", a.strength as "strength (eps)",
    a.heldout_before as "squared MMD to held-out real records, unweighted",
    a.heldout_after as "the same, weighted", a.floor as "real against real (floor)", a.run_id as "alignment run"
from main.alignment_summary a
where a.is_current and a.stratum = '*'
