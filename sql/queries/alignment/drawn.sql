-- A sample, in the order of ids: what ws.sample() returns.
-- needs: synthetic_weighted
select * from sample_synthetic($n, seed := $seed, only_distinct := $only_distinct) order by id
