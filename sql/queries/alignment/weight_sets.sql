-- The named weight sets, in the order of their names.
-- needs: weight_sets
select * from detail.weight_sets order by weight_set
