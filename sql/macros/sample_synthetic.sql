-- Draws n synthetic records by weight: systematic sampling with probability proportional to size, in the order of
-- md5(id, seed), so that a record's expected copies are exactly n * weight and the same seed gives the same sample.
-- copies: how often the record was drawn
-- n: draws; seed: any integer; only_distinct := true refuses an n for which a record could be drawn twice
-- needs: synthetic_weighted
create macro sample_synthetic(n, seed := 0, only_distinct := false) as table
with ordered as (
    select *, sum(weight) over draws as reach, row_number() over draws as place
    from synthetic_weighted
    where weight > 0
    window draws as (order by md5(id || ':' || seed::varchar), id rows unbounded preceding)
),
bounds as (
    select *, lag(reach, 1, 0) over (order by place) as reach_before, max(reach) over () as total, max(weight) over () as heaviest,
        cast('0x' || substr(md5('start:' || seed::varchar), 1, 13) as bigint) / 4503599627370496.0 as start
    from ordered
),
drawn as (
    select * exclude (reach, reach_before, place, total, start, heaviest),
        cast(floor(n * (reach / total) + start) - floor(n * (reach_before / total) + start) as bigint) as copies,
        heaviest / total as largest
    from bounds
)
select * exclude (largest)
from drawn
where copies > 0
    and (not only_distinct or n * largest <= 1
        or error('sample_synthetic: with n = ' || n::varchar || ' a record could be drawn twice; the largest n for '
            || 'distinct records is ' || floor(1 / largest)::bigint::varchar || '. Lower n, or leave only_distinct out.'))
