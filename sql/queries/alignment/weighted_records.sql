-- How many records there are to draw: those of synthetic_weighted, without their text, which takes longer.
-- needs: weights, current_runs, exclusions
select count(*) as records
from main.weights w
join detail.current_runs c on c.run_id = w.run_id and c.step = 'align'
anti join detail.exclusions e on e.id = w.id
where w.weight > 0
