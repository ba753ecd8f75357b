-- The largest weight, scaled to a sum of 1.
-- needs: synthetic_weighted
select max(weight) / sum(weight::decimal(38, 30))::double as heaviest
from main.synthetic_weighted
where weight > 0
