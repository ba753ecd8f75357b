-- The records of a label whose current weights are largest and smallest, to be read side by side. A label with fewer
-- than 2n records shows some of them on both sides; an unknown label is an error that lists the labels.
-- argument of_label: a label; `'*'` for all records together, null or `'(none)'` for those without one
-- argument n: records on each side, at least 1
-- argument attached_as: the name that the catalog is attached under, if it is neither opened nor in `use`: 'reviews'
--     after `attach '...' as reviews`. It is not needed in `ws.sql`
-- example: select side, place, weight_ratio, text from weight_extremes('defect', n := 5)
-- key: side, place
-- side: `most` or `least`
-- place: rank, 1 for the largest or the smallest weight; equal weights in the order of their ids
-- id: the synthetic record
-- text: text of the record
-- label: label of the record
-- weight: weight of the record in the current set
-- weight_ratio: weight over the mean weight of the label's records: 1 where the record counts as if unweighted
-- label_quality: the probability that the real data would give this text its label; null where it was not computed
-- written_from: what the record was written from, see `synthetic`
-- needs: synthetic_weighted
create macro weight_extremes(of_label, n := 10, attached_as := null) as table
with synthetic_weighted as not materialized (from query_table(concat(attached_as || '.', 'main.synthetic_weighted'))),
wanted as (select coalesce(of_label::varchar, '(none)') as wanted_label),
meant as (
    select s.id, s.text, s.label, s.weight, s.label_quality, s.written_from
    from synthetic_weighted s, wanted w
    where w.wanted_label = '*' or coalesce(s.label, '(none)') = w.wanted_label
),
found as (select count(*) as records, avg(weight) as mean_weight from meant),
asked as (
    select f.mean_weight,
        case
            when f.records = 0 then error(concat('weight_extremes: no weighted record has the label ''', w.wanted_label,
                '''; there are: ', (select coalesce(string_agg(t.label, ', ' order by t.label), 'none yet')
                    from (select distinct coalesce(label, '(none)') as label from synthetic_weighted) t), '.'))
            when n::double >= 1 and n::double = floor(n::double) then n::bigint
            else error(concat(
                'weight_extremes: n must be an integer of at least 1, not ', coalesce(n::varchar, 'null'), '.'))
        end as most
    from wanted w, found f
),
placed as (
    select m.*, 'most' as side, row_number() over (order by m.weight desc, m.id) as place from meant m
    union all
    select m.*, 'least', row_number() over (order by m.weight, m.id) from meant m
)
select p.side, p.place, p.id, p.text, p.label, p.weight, p.weight / nullif(a.mean_weight, 0) as weight_ratio,
    p.label_quality, p.written_from
from asked a
left join placed p on p.place <= a.most
order by p.side desc, p.place
