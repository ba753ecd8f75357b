-- How many records there are to draw a training mix from, on each side.
-- needs: real, synthetic_weighted
select (select count(*) from main.real where split = 'train') as real_records,
    (select count(*) from main.synthetic_weighted where weight > 0) as synthetic_records
