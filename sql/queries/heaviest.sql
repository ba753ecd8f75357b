-- How many weights there are, and the largest of them, scaled to a sum of 1.
-- needs: synthetic_weighted
select count(*) as records, max(weight) / sum(weight) as heaviest from synthetic_weighted
