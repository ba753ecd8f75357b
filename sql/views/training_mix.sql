-- Real and weighted synthetic records in one table, ready to train on.
-- origin: real or synthetic
-- sample_weight: a real record's multiplicity; synthetic records share the same total by their weights, so that both
--     sides count alike, also after records were excluded. Scale one side to change that.
-- needs: real, synthetic_weighted
select 'real' as origin, id, text, label, cast(multiplicity as double) as sample_weight
from real
where split = 'train'
union all
select 'synthetic', id, text, label,
    weight / sum(weight) over () * (select sum(multiplicity) from real where split = 'train')
from synthetic_weighted
