-- Writes data/orders.csv: 300 orders of Tindra, a shop that does not exist. Made for this project; the same every time,
-- since what looks random comes from md5. From the folder examples/orders: duckdb < generate.sql
copy (
    with drawn as (
        select i as order_id,
            [cast('0x' || substr(md5('order ' || i), 8 * part + 1, 7) as bigint) / 268435456.0 for part in [0, 1, 2, 3]] as u
        from range(1, 301) as numbers(i)
    )
    select order_id,
        date '2026-01-01' + cast(floor(181 * u[1]) as integer) as ordered_on,
        case when u[2] < 0.5 then 'lamp' when u[2] < 0.8 then 'electronics' else 'furniture' end as category,
        cast((case when u[2] < 0.5 then 45 when u[2] < 0.8 then 90 else 260 end) * (0.5 + u[3]) as decimal(8, 2)) as value,
        -- why the customer wrote; null where nobody did
        case when u[4] < 0.14 then 'delivery' when u[4] < 0.25 then 'refund' when u[4] < 0.34 then 'defect'
            when u[4] < 0.40 then 'account' when u[4] < 0.44 then 'praise' end as contact_reason,
        -- how long it took to answer
        case when u[4] < 0.14 then 4 when u[4] < 0.25 then 11 when u[4] < 0.34 then 16
            when u[4] < 0.40 then 6 when u[4] < 0.44 then 1 end + cast(floor(5 * u[1]) as integer) as minutes
    from drawn
    order by order_id
) to 'data/orders.csv' (header, delimiter ',')
