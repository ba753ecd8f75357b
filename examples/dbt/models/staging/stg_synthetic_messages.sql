select
    id as message_id,
    label as reason,
    text,
    length(text) - length(replace(text, ' ', '')) + 1 as words,
    weight,
    weight_set
from {{ source('synalign', 'synthetic_weighted') }}
