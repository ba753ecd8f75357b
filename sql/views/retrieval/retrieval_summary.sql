-- How well each retriever ranks documents for the test queries, one a line: the newest evaluation. All figures come of
-- exact search, but for `index_recall_at_10`. Intervals hold 95%, of queries drawn anew, document by document.
-- example: select retriever, trained_on, ndcg_at_10, gain, gain_low, gain_high from retrieval_summary
-- key: retriever
-- retriever: its name
-- trained_on: what it was trained on, see `retrievers`
-- queries: test queries
-- documents: documents that it ranked
-- real_pairs: pairs that it was trained on: of real queries
-- synthetic_pairs: and of synthetic ones
-- share: the share of all sample weight that the synthetic pairs had
-- mrr_at_10: mean of one over the rank of the right document, 0 below rank 10
-- mrr_low: lower end of its interval
-- mrr_high: upper end
-- ndcg_at_10: mean of the normalised discounted cumulative gain
-- recall_at_1: share of the queries whose document comes first
-- recall_at_10: and among the first ten
-- gain: difference of its `mrr_at_10` to that of the baseline, query by query
-- gain_low: lower end of the interval of that
-- gain_high: upper end
-- gain_p_value: how likely so large a difference is if there is none
-- baseline: the retriever that it is compared with
-- index_recall_at_10: share of the ten best documents that a search through the index finds; 1 where there is none
-- run_id: the run that evaluated
-- needs: metrics, retrievers, runs, current_runs
with figures as (
    select m.run_id, m.scope as retriever, max(m.real_records) as queries,
        max(m.value) filter (m.metric = 'mrr_at_10') as mrr_at_10,
        max(m.low) filter (m.metric = 'mrr_at_10') as mrr_low,
        max(m.high) filter (m.metric = 'mrr_at_10') as mrr_high,
        max(m.value) filter (m.metric = 'ndcg_at_10') as ndcg_at_10,
        max(m.value) filter (m.metric = 'recall_at_1') as recall_at_1,
        max(m.value) filter (m.metric = 'recall_at_10') as recall_at_10,
        max(m.value) filter (m.metric = 'mrr_at_10_gain') as gain,
        max(m.low) filter (m.metric = 'mrr_at_10_gain') as gain_low,
        max(m.high) filter (m.metric = 'mrr_at_10_gain') as gain_high,
        max(m.p_value) filter (m.metric = 'mrr_at_10_gain') as gain_p_value,
        max(m.value) filter (m.metric = 'index_recall_at_10') as index_recall_at_10
    from detail.metrics m
    join detail.current_runs c on c.run_id = m.run_id and c.step = 'rank'
    group by m.run_id, m.scope
)
select f.retriever, t.trained_on, f.queries, t.documents, t.real_pairs, t.synthetic_pairs, t.share,
    f.mrr_at_10, f.mrr_low, f.mrr_high, f.ndcg_at_10, f.recall_at_1, f.recall_at_10,
    f.gain, f.gain_low, f.gain_high, f.gain_p_value,
    json_extract_string(r.parameters, '$.baseline') as baseline, f.index_recall_at_10, f.run_id
from figures f
join main.runs r on r.run_id = f.run_id
left join detail.retrievers t on t.name = f.retriever and list_contains(r.inputs, t.run_id)
order by f.mrr_at_10 desc, f.retriever
