select message_id, weight
from {{ ref('stg_synthetic_messages') }}
where weight < 0
