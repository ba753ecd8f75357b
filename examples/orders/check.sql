-- What must hold before the weights are used: one row for each rule that is broken, so none is good.
select 'the weights do not sum to 1' as broken, sum(weight) as found
from synalign.synthetic_weighted
having not abs(sum(weight) - 1) < 1e-9
union all
select 'a weight is negative or missing', count(*)
from synalign.synthetic_weighted
where weight is null or weight < 0
having count(*) > 0
union all
select 'a reason of the messages has no order: ' || label, count(*)
from synalign.synthetic_weighted
where label not in (select contact_reason from warehouse.orders where contact_reason is not null)
group by label
