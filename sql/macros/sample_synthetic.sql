-- Draws n synthetic records by weight: systematic sampling with probability proportional to size, in the order of
-- md5(id, seed). A record's expected copies are exactly n * weight, its copies are that number rounded down or up, all
-- copies add up to n, and the same seed gives the same sample, whatever the number of threads. Without weights it is an
-- error.
-- argument n: number of draws, at least 1
-- argument seed: any integer
-- argument only_distinct: true refuses an n for which a record could be drawn twice
-- argument attached_as: the name that the catalog is attached under, if it is neither opened nor in `use`: 'reviews'
--     after `attach '...' as reviews`. It is not needed in `ws.sql`
-- example: select id, text, copies from sample_synthetic(1000, seed := 7)
-- key: id
-- as: synthetic_weighted
-- copies: how often the record was drawn, at least 1
-- needs: synthetic_weighted
create macro sample_synthetic(n, seed := 0, only_distinct := false, attached_as := null) as table
with synthetic_weighted as not materialized (from query_table(concat(attached_as || '.', 'main.synthetic_weighted'))),
whole as (
    -- Decimals add up to the same sum in any order, floating numbers do not: no thread may change a sample.
    select sum(weight::decimal(38, 30))::double as total, max(weight) as heaviest
    from synthetic_weighted
    where weight > 0
),
asked as (
    select total, heaviest / total as largest, only_distinct as apart,
        case
            when total is null then error('sample_synthetic: there are no weights to draw by. Run align first.')
            when seed is null then error('sample_synthetic: the seed must be an integer, not null.')
            when n::double >= 1 and n::double = floor(n::double) then n::bigint
            else error(concat(
                'sample_synthetic: n must be an integer of at least 1, not ', coalesce(n::varchar, 'null'), '.'))
        end as draws,
        (md5_number(concat('start:', seed)) % 1099511627776)::double / 1099511627776 as start
    from whole
),
-- The line that is drawn from is 2^52 long, and sizes are whole numbers: sums of them are exact.
sized as (
    select s.id, round(s.weight / w.total * 4503599627370496) as size
    from synthetic_weighted s, whole w
    where s.weight > 0
),
line as (
    select id, size, sum(size) over (order by md5_number(concat(id, ':', seed)) rows unbounded preceding) as reach
    from sized
),
points as (
    select l.id as drawn_id, a.draws, a.largest, a.apart,
        least(floor(a.draws * ((l.reach - l.size) / e.length) + a.start), a.draws) as points_before,
        least(floor(a.draws * (l.reach / e.length) + a.start), a.draws) as points_upto
    from asked a, line l, (select sum(size) as length from sized) e
),
drawn as (
    select drawn_id, cast(points_upto - points_before as bigint) as drawn_copies
    from points
    where points_upto > points_before
        and (not apart or draws * largest <= 1
            or error(concat('sample_synthetic: with n = ', draws, ' a record could be drawn twice; the largest n for '
                'distinct records is ', floor(1 / largest)::bigint, '. Lower n, or leave only_distinct out.')))
)
select s.*, d.drawn_copies as copies
from synthetic_weighted s
join drawn d on d.drawn_id = s.id
