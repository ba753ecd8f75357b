-- A sample of both sides, real records first, in the order of ids: what ws.sample_training_mix() returns.
-- needs: training_mix
select * from sample_training_mix($n, synthetic_share := $synthetic_share, seed := $seed) order by origin, id
