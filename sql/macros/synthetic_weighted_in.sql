-- `synthetic_weighted` for a named weight set, whether it is the current one or not. `weight_sets` lists the names; an
-- unknown name is an error that lists them, too.
-- argument name: name of the weight set
-- argument attached_as: the name that the catalog is attached under, if it is neither opened nor in `use`: 'reviews'
--     after `attach '...' as reviews`. It is not needed in `ws.sql`
-- example: select label, sum(weight) from synthetic_weighted_in('default') group by label
-- key: id
-- as: synthetic_weighted
-- needs: synthetic, weights, weight_sets, exclusions, label_names, label_quality
create macro synthetic_weighted_in(name, attached_as := null) as table
with synthetic as not materialized (from query_table(concat(attached_as || '.', 'main.synthetic'))),
weights as not materialized (from query_table(concat(attached_as || '.', 'main.weights'))),
weight_sets as not materialized (from query_table(concat(attached_as || '.', 'detail.weight_sets'))),
exclusions as not materialized (from query_table(concat(attached_as || '.', 'detail.exclusions'))),
label_names as not materialized (from query_table(concat(attached_as || '.', 'detail.label_names'))),
label_quality as not materialized (from query_table(concat(attached_as || '.', 'detail.label_quality'))),
asked as (
    -- An aggregate gives its one row, and so the error, whatever else is empty.
    select case when count(*) > 0 then any_value(k.run_id) else error(concat(
        'There is no weight set ''', name, '''; there are: ',
        (select coalesce(string_agg(t.weight_set, ', ' order by t.weight_set), 'none yet') from weight_sets t), '.'
    )) end as run_id
    from weight_sets k
    where k.weight_set = name::varchar
)
select s.*, n.label_name, w.weight_set, w.weight, q.quality as label_quality
from asked a
join weights w on w.run_id = a.run_id
join synthetic s on s.id = w.id
left join label_names n on n.label = s.label
left join label_quality q on q.run_id = w.run_id and q.id = w.id
where not exists (select 1 from exclusions e where e.id = s.id)
