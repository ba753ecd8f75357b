-- Real training records and weighted synthetic records in one relation, ready to train on.
-- example: select origin, label, sum(sample_weight) as weight from training_mix group by all order by all
-- key: origin, id
-- origin: `real` or `synthetic`
-- id: the record's id
-- text: text of the record
-- label: label of the record
-- sample_weight: weight for training: a real record's multiplicity; a synthetic record's weight, scaled so that both
--     sides have the same total
-- needs: real, synthetic_weighted
select 'real' as origin, id, text, label, cast(multiplicity as double) as sample_weight
from main.real
where split = 'train'
union all
select 'synthetic', id, text, label,
    -- Of decimals, whose sum does not depend on the order of addition, so that both surfaces say the same.
    weight / (select sum(weight::decimal(38, 30))::double from main.synthetic_weighted)
        * (select sum(multiplicity) from main.real where split = 'train')
from main.synthetic_weighted
