-- How real, synthetic and weighted synthetic texts compare, a figure a row. From the newest run of `text_quality` for
-- the weights of each named set, the current set first; `where is_current` leaves the set that is in use. Before there
-- are weights, the newest run without any. `metrics` describes the figures.
-- example: select metric, figure, real, raw, weighted, is_clear from text_quality where is_current
-- key: weight_set, metric
-- weight_set: name of the weight set; null where there were no weights
-- is_current: whether this set is in use, see `weight_sets`
-- family: `diversity`, `form`, `nearness` (to real training text) or `leakage`
-- metric: the figure's name, as in `metrics`
-- figure: what it is, in words
-- real: value for real text that was not used for the comparison: the test split, or a half of the training text
-- raw: value for the synthetic text, unweighted
-- weighted: value for the weighted synthetic text
-- real_low: lower end of the 95% interval of `real`
-- real_high: upper end of the 95% interval of `real`
-- raw_low: lower end of the 95% interval of `raw`
-- raw_high: upper end of the 95% interval of `raw`
-- weighted_low: lower end of the 95% interval of `weighted`
-- weighted_high: upper end of the 95% interval of `weighted`
-- better: which of `raw` and `weighted` is nearer to real text, or `same`: nearer to `real`; of distances, MAUVE and the
--     words in common, nearer to the training text itself; of leakage, what repeats less, where that is more than real
--     text repeats. Null where one of them is
-- is_clear: whether the intervals of `raw` and `weighted` do not overlap
-- split: split of the real texts: `test`, or `train` where that has too few
-- run_id: the run of `text_quality`
-- needs: metrics, weight_sets, run_order
with named(place, family, metric, aim, figure) as (values
    (1, 'diversity', 'distinct_1', 'real', 'distinct words'),
    (2, 'diversity', 'distinct_2', 'real', 'distinct pairs of words'),
    (3, 'diversity', 'distinct_3', 'real', 'distinct runs of 3 words'),
    (4, 'diversity', 'self_bleu', 'real', 'self-BLEU'),
    (5, 'form', 'words_q10', 'real', 'words, short (10%)'),
    (6, 'form', 'words_median', 'real', 'words, median'),
    (7, 'form', 'words_q90', 'real', 'words, long (90%)'),
    (8, 'form', 'characters_q10', 'real', 'characters, short (10%)'),
    (9, 'form', 'characters_median', 'real', 'characters, median'),
    (10, 'form', 'characters_q90', 'real', 'characters, long (90%)'),
    (11, 'form', 'punctuation_rate', 'real', 'punctuation, of characters'),
    (12, 'form', 'uppercase_rate', 'real', 'capitals, of letters'),
    (13, 'form', 'digit_rate', 'real', 'digits, of characters'),
    (14, 'form', 'emoji_rate', 'real', 'texts with emoji'),
    (15, 'form', 'url_rate', 'real', 'texts with an address'),
    (16, 'nearness', 'words_distance', 'small', 'length in words, distance'),
    (17, 'nearness', 'characters_distance', 'small', 'length in characters, distance'),
    (18, 'nearness', 'punctuation_divergence', 'small', 'punctuation marks, divergence'),
    (19, 'nearness', 'vocabulary_jaccard', 'large', 'vocabulary in common'),
    (20, 'nearness', 'vocabulary_known', 'real', 'words that real text has'),
    (21, 'nearness', 'vocabulary_covered', 'large', 'real words that it has'),
    (22, 'nearness', 'mauve', 'large', 'MAUVE'),
    (23, 'leakage', 'copied', 'few', 'copies of real text'),
    (24, 'leakage', 'near_duplicate', 'few', 'near-duplicates of real text'),
    (25, 'leakage', 'test_copy', 'few', 'copies of test texts'),
    (26, 'leakage', 'personal', 'few', 'personal data'),
    (27, 'leakage', 'personal_real', 'few', 'personal data of real text')
),
newest as (
    select m.weights_run_id, arg_max(o.run_id, o.sequence) as run_id
    from (select distinct run_id, weights_run_id from detail.metrics) m
    join detail.run_order o on o.run_id = m.run_id
    where o.step = 'text_quality'
    group by m.weights_run_id
),
shown as (
    select k.weight_set, k.is_current, n.run_id from detail.weight_sets k join newest n on n.weights_run_id = k.run_id
    union all
    select null, true, n.run_id from newest n
    where n.weights_run_id is null and not exists (select 1 from detail.weight_sets)
),
figures as (
    select s.weight_set, s.is_current, s.run_id, m.metric, any_value(m.split) as split,
        max(m.value) filter (m.scope = 'real') as real,
        max(m.low) filter (m.scope = 'real') as real_low,
        max(m.high) filter (m.scope = 'real') as real_high,
        max(m.value) filter (m.scope = 'raw') as raw,
        max(m.low) filter (m.scope = 'raw') as raw_low,
        max(m.high) filter (m.scope = 'raw') as raw_high,
        max(m.value) filter (m.scope = 'weighted') as weighted,
        max(m.low) filter (m.scope = 'weighted') as weighted_low,
        max(m.high) filter (m.scope = 'weighted') as weighted_high
    from shown s
    join detail.metrics m on m.run_id = s.run_id
    group by s.weight_set, s.is_current, s.run_id, m.metric
),
judged as (
    -- What is wrong with a figure of each side: the less, the better.
    select f.*, n.place, n.family, n.figure,
        case n.aim when 'small' then f.raw when 'large' then -f.raw
            when 'few' then greatest(f.raw - coalesce(f.real, 0), 0) else abs(f.raw - f.real) end as raw_wrong,
        case n.aim when 'small' then f.weighted when 'large' then -f.weighted
            when 'few' then greatest(f.weighted - coalesce(f.real, 0), 0) else abs(f.weighted - f.real) end
            as weighted_wrong
    from figures f
    join named n on n.metric = f.metric
)
select weight_set, is_current, family, metric, figure, real, raw, weighted, real_low, real_high, raw_low, raw_high,
    weighted_low, weighted_high,
    -- greatest() takes a null for nothing, and so would call a side that is not there faultless.
    case when raw is null or weighted is null or raw_wrong is null or weighted_wrong is null then null
        when weighted_wrong < raw_wrong then 'weighted'
        when weighted_wrong > raw_wrong then 'raw'
        else 'same' end as better,
    weighted_low > raw_high or raw_low > weighted_high as is_clear,
    split, run_id
from judged
order by is_current desc, weight_set, place
