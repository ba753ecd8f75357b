-- How well each retriever ranks documents for the test queries, one a line, from the newest evaluation. All figures are
-- of exact search, except `index_recall_at_10`. Intervals are 95%, by drawing queries anew, document by document.
-- example: select retriever, trained_on, ndcg_at_10, gain, gain_low, gain_high from retrieval_summary
-- key: retriever
-- retriever: name of the retriever
-- trained_on: what it was trained on, see `retrievers`
-- queries: number of test queries
-- documents: number of documents that it ranked
-- real_pairs: number of pairs of a real query and its document that it was trained on
-- synthetic_pairs: number of pairs of a synthetic query and its document that it was trained on
-- share: share of the synthetic pairs in all sample weight
-- mrr_at_10: mean reciprocal rank of the right document, 0 below rank 10
-- mrr_low: lower end of the interval of `mrr_at_10`
-- mrr_high: upper end of the interval of `mrr_at_10`
-- ndcg_at_10: mean normalised discounted cumulative gain of the first ten documents
-- recall_at_1: share of the queries whose document comes first
-- recall_at_10: share of the queries whose document is among the first ten
-- gain: mean difference of `mrr_at_10` from that of the baseline, query by query
-- gain_low: lower end of the interval of `gain`
-- gain_high: upper end of the interval of `gain`
-- gain_p_value: p-value of `gain` under the hypothesis of no difference
-- baseline: the retriever that it is compared with
-- index_recall_at_10: share of the ten best documents that a search through the index finds; 1 where there is no index
-- run_id: the run that evaluated the retrievers
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
