-- The weights of each record in two weight sets side by side, for every pair of sets. Records that were excluded since
-- are among them.
-- example: select id, weight_a, weight_b, log_ratio from weights_compare order by abs(log_ratio) desc limit 20
-- key: weight_set_a, weight_set_b, id
-- weight_set_a: name of the first set: the one that comes first in the alphabet
-- weight_set_b: name of the second set
-- id: the synthetic record
-- label: label of the record
-- weight_a: weight in the first set; 0 where the record has none
-- weight_b: weight in the second set; 0 where the record has none
-- log_ratio: ln(`weight_b` / `weight_a`): above 0, the second set draws the record more often; null if either is 0
-- needs: weights, weight_sets
with named as (
    select k.weight_set, w.id, w.label, w.weight from main.weights w join detail.weight_sets k on k.run_id = w.run_id
),
pairs as (
    select a.weight_set as set_a, b.weight_set as set_b
    from detail.weight_sets a join detail.weight_sets b on a.weight_set < b.weight_set
),
a_side as (select p.set_a, p.set_b, n.id, n.label, n.weight from pairs p join named n on n.weight_set = p.set_a),
b_side as (select p.set_a, p.set_b, n.id, n.label, n.weight from pairs p join named n on n.weight_set = p.set_b)
select coalesce(a.set_a, b.set_a) as weight_set_a, coalesce(a.set_b, b.set_b) as weight_set_b,
    coalesce(a.id, b.id) as id, coalesce(a.label, b.label) as label,
    coalesce(a.weight, 0) as weight_a, coalesce(b.weight, 0) as weight_b,
    -- Of the smallest weights the quotient would overflow; the difference of logarithms does not.
    ln(nullif(b.weight, 0)) - ln(nullif(a.weight, 0)) as log_ratio
from a_side a
full join b_side b on b.set_a = a.set_a and b.set_b = a.set_b and b.id = a.id
