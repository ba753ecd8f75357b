-- Shares of labels, lengths, clusters and stated attributes among real, synthetic and weighted synthetic records, side
-- by side. The shares of one attribute add up to 1, and are null where no record of that side has the attribute.
-- example: select value, real_share, raw_share, weighted_share from attribute_marginals where attribute = 'label'
-- key: attribute, value
-- attribute: `label`, `words` (a band of the text's length in words), `cluster`, or a category that the language model
--     stated: of real records by `annotate`; of synthetic ones by `annotate`, else the attribute that they were written
--     from
-- value: value of the attribute
-- real_share: share among the real training records, by multiplicity
-- raw_share: share among the synthetic records, unweighted, by multiplicity
-- weighted_share: share of the weight of the synthetic records
-- needs: real, synthetic_weighted, cluster_members, annotations, attribute_values, synthetic
with records as (
    select 'real' as origin, id, text, label, cast(multiplicity as double) as raw, null::double as weight
    from main.real where split = 'train'
    union all
    select 'synthetic', id, text, label, multiplicity, weight from main.synthetic_weighted
),
described as (
    select origin, id, label, raw, weight, len(regexp_extract_all(text, '\S+')) as words from records
),
valued as (
    select origin, 'label' as attribute, coalesce(label, '(none)') as value, raw, weight from described
    union all
    select origin, 'words',
        case when words <= 5 then '01-05' when words <= 10 then '06-10' when words <= 20 then '11-20'
            when words <= 40 then '21-40' else '41+' end,
        raw, weight
    from described
    union all
    select d.origin, 'cluster', format('{:04d}', m.cluster_id), d.raw, d.weight
    from described d join detail.cluster_members m on m.origin = d.origin and m.id = d.id
    union all
    select d.origin, a.name, a.value, d.raw, d.weight
    from described d join detail.annotations a on a.origin = d.origin and a.id = d.id
    where a.kind = 'category'
    union all
    select d.origin, v.name, v.value, d.raw, d.weight
    from described d
    join main.synthetic y on y.id = d.id
    join detail.attribute_values v on v.attributes_id = y.attributes_id
    where d.origin = 'synthetic' and v.kind = 'category'
        and not exists (from detail.annotations a where a.origin = 'synthetic' and a.id = d.id and a.name = v.name)
)
select attribute, value,
    coalesce(sum(raw) filter (origin = 'real'), 0)
        / sum(sum(raw) filter (origin = 'real')) over attributes as real_share,
    coalesce(sum(raw) filter (origin = 'synthetic'), 0)
        / sum(sum(raw) filter (origin = 'synthetic')) over attributes as raw_share,
    coalesce(sum(weight), 0) / sum(sum(weight)) over attributes as weighted_share
from valued
group by attribute, value
window attributes as (partition by attribute)
order by attribute, value
