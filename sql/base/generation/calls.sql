-- Every request to a language model, at once when its outcome is known, also while a run is under way.
-- key: call_id
-- call_id: hash of all that decides the reply
-- run_id: the run that asked first; it may not be finished
-- step: `reason`, `generate` or `annotate`
-- selection_id: the selection it was made for; null where it is of several, or of none
-- model: the model
-- base_url: the endpoint, spelt in one way; null for the client's default
-- template_hash: hash of the prompt's template
-- system: system part of the prompt
-- user: user part; where an answer is asked for again, with the turns after it
-- status: `complete`, `failed` (asked again) or `refused` (for good)
-- reply: the raw reply
-- error: why there is none, or why the reply could not be used
-- finish_reason: as the endpoint gave it
-- mode: how structure was asked for: schema, JSON or plain text
-- attempts: tries, repeats included
-- prompt_tokens: as the endpoint counted
-- completion_tokens: as the endpoint counted
-- cost_usd: from the configured prices; null without
-- latency_s: seconds to the reply
-- finished_at: UTC
-- subject: hash of what is asked about, whatever the wording: a recording finds its reply by it
-- seed: that was sent
-- repairs: the call whose reply could not be read, and whose answer this one asks for again; else null
-- batch_id: the provider's batch that it was a part of; null where it was sent alone
-- needs:
select * from raw_calls
union all by name
select * from raw_ledger where call_id not in (select call_id from raw_calls)
