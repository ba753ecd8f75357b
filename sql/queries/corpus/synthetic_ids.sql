-- The synthetic records among which a person's condition chooses, with whether they are excluded now.
-- needs: synthetic, exclusions
select s.*, exists (select 1 from detail.exclusions e where e.id = s.id) as excluded from main.synthetic s
