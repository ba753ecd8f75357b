-- All weighted synthetic records, in the order of their ids: what export writes.
-- needs: synthetic_weighted
select * from main.synthetic_weighted order by id
