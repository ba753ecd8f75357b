-- The weights sum to 1, also after the join: no message lost its reason. Records that were excluded since `align` take
-- their weight with them; this fails until `align` was run again.
select 'messages' as relation, sum(weight) as total
from {{ ref('stg_synthetic_messages') }}
having abs(sum(weight) - 1) > 1e-9

union all

select 'message_costs', sum(share)
from {{ ref('message_costs') }}
having abs(sum(share) - 1) > 1e-9
