-- How a generated record did by each rule when it came.
-- needs: checks
select c.* from detail.checks c where c.id = $id and $origin = 'synthetic'
