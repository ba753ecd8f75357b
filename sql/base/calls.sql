-- Every request to a language model, at once when its outcome is known, also while a run is under way.
-- status: complete, failed (another run tries again) or refused (by the endpoint, for good)
-- attempts: tries, repeats after time-outs and rate limits included
-- cost_usd: from the configured prices; null without them
-- needs:
select * from raw_calls
union all by name
select * from raw_ledger where call_id not in (select call_id from raw_calls)
