-- What the others did, each of whom was seen in one arm.
select u.* from log_seen u
anti join (select unit from log_seen group by unit having count(*) > 1) c on c.unit = u.unit
