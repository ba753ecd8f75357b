-- How many weights there are, and the largest of them, scaled to a sum of 1.
-- needs: synthetic_weighted
select count(*) as records, max(weight) / sum(weight::decimal(38, 30))::double as heaviest
from synthetic_weighted
where weight > 0
