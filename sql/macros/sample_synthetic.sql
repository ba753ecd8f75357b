-- Draws n synthetic records by weight: systematic sampling with probability proportional to size, in the order of
-- md5(id, seed), so that a record's expected copies are exactly n * weight and the same seed gives the same sample.
-- copies: how often the record was drawn
-- n: draws; seed: any integer; only_distinct := true refuses an n for which a record could be drawn twice
-- needs: synthetic_weighted
create macro sample_synthetic(n, seed := 0, only_distinct := false) as table
with ordered as (
    select s.id, s.weight, sum(s.weight) over draws as reach, row_number() over draws as place
    from synthetic_weighted s
    where s.weight > 0
    window draws as (order by md5(s.id || ':' || seed::varchar), s.id rows unbounded preceding)
),
bounds as (
    select id, reach, lag(reach, 1, 0) over (order by place) as reach_before, max(reach) over () as total,
        max(weight) over () as heaviest,
        cast('0x' || substr(md5('start:' || seed::varchar), 1, 13) as bigint) / 4503599627370496.0 as start
    from ordered
),
drawn as (
    select id as drawn_id, heaviest / total as drawn_largest,
        cast(floor(n * (reach / total) + start) - floor(n * (reach_before / total) + start) as bigint) as drawn_copies
    from bounds
)
select s.*, d.drawn_copies as copies
from synthetic_weighted s
join drawn d on d.drawn_id = s.id
where d.drawn_copies > 0
    and (not only_distinct or n * d.drawn_largest <= 1
        or error('sample_synthetic: with n = ' || n::varchar || ' a record could be drawn twice; the largest n for '
            || 'distinct records is ' || floor(1 / d.drawn_largest)::bigint::varchar
            || '. Lower n, or leave only_distinct out.'))
