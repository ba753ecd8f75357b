-- Draws n records to train on, real and synthetic, in a given proportion. It is one systematic sample with probability
-- proportional to size: real training records by their multiplicity, synthetic ones by their weight. In the order of
-- origin, label and md5(id, seed), so that each side, and every label of each, gets its expected number of draws to
-- within one. The expected copies of a record are exactly n times its probability, all copies add up to n, and the same
-- seed gives the same sample. Copies stand for the weights: do not weight the drawn rows by `sample_weight` again. A
-- share that asks for a side without records is an error.
-- argument n: number of draws, at least 1
-- argument synthetic_share: the share of the draws that are synthetic, from 0 to 1
-- argument seed: any integer
-- argument attached_as: the name that the catalog is attached under, if it is neither opened nor in `use`: 'reviews'
--     after `attach '...' as reviews`. It is not needed in `ws.sql`
-- example: select origin, label, sum(copies) from sample_training_mix(1000, synthetic_share := 0.3) group by all
-- key: origin, id
-- as: training_mix
-- copies: how often the record was drawn, at least 1
-- needs: real, synthetic_weighted, training_mix
create macro sample_training_mix(n, synthetic_share := 0.5, seed := 0, attached_as := null) as table
with real as not materialized (from query_table(concat(attached_as || '.', 'main.real'))),
synthetic_weighted as not materialized (from query_table(concat(attached_as || '.', 'main.synthetic_weighted'))),
training_mix as not materialized (from query_table(concat(attached_as || '.', 'main.training_mix'))),
real_side as (select sum(multiplicity)::double as total from real where split = 'train'),
-- Decimals add up to the same sum in any order, floating numbers do not: no thread may change a sample.
synthetic_side as (
    select sum(weight::decimal(38, 30))::double as total from synthetic_weighted where weight > 0
),
asked as (
    select r.total as real_total, s.total as synthetic_total, synthetic_share::double as share,
        case
            when synthetic_share is null or not synthetic_share::double between 0 and 1 then error(concat(
                'sample_training_mix: synthetic_share must be a number from 0 to 1, not ',
                coalesce(synthetic_share::varchar, 'null'), '.'))
            when synthetic_share > 0 and s.total is null then error(
                'sample_training_mix: there are no weights to draw synthetic records by. Run align first, or set '
                'synthetic_share := 0.')
            when synthetic_share < 1 and r.total is null then error(
                'sample_training_mix: there are no real training records. Ingest some, or set synthetic_share := 1.')
            when seed is null then error('sample_training_mix: the seed must be an integer, not null.')
            when n::double >= 1 and n::double = floor(n::double) then n::bigint
            else error(concat(
                'sample_training_mix: n must be an integer of at least 1, not ', coalesce(n::varchar, 'null'), '.'))
        end as draws,
        (md5_number(concat('start:', seed)) % 1099511627776)::double / 1099511627776 as start
    from real_side r, synthetic_side s
),
-- The line that is drawn from is 2^52 long, and sizes are whole numbers: sums of them are exact.
sized as (
    select 'real' as origin, r.id, r.label,
        round((1 - a.share) * r.multiplicity / a.real_total * 4503599627370496) as size
    from real r, asked a
    where r.split = 'train' and a.share < 1
    union all
    select 'synthetic', s.id, s.label, round(a.share * s.weight / a.synthetic_total * 4503599627370496)
    from synthetic_weighted s, asked a
    where s.weight > 0 and a.share > 0
),
line as (
    select origin, id, size, sum(size) over (
        order by origin, label nulls last, md5_number(concat(id, ':', seed)) rows unbounded preceding
    ) as reach
    from sized
),
points as (
    select l.origin as drawn_origin, l.id as drawn_id,
        least(floor(a.draws * ((l.reach - l.size) / e.length) + a.start), a.draws) as points_before,
        least(floor(a.draws * (l.reach / e.length) + a.start), a.draws) as points_upto
    from asked a, line l, (select sum(size) as length from sized) e
),
drawn as (
    select drawn_origin, drawn_id, cast(points_upto - points_before as bigint) as drawn_copies
    from points
    where points_upto > points_before
)
select m.*, d.drawn_copies as copies
from training_mix m
join drawn d on d.drawn_origin = m.origin and d.drawn_id = m.id
