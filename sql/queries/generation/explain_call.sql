-- The requests behind a record: of a synthetic one, the one whose reply it was read from and the one that stated its
-- attributes; of a real one, those that show it to the language model.
-- needs: calls, synthetic, attributes, selections
with asked as (
    select y.call_id, 1 as place from main.synthetic y where y.id = $id and $origin = 'synthetic'
    union
    select a.call_id, 0 from main.synthetic y join detail.attributes a on a.id = y.attributes_id
    where y.id = $id and $origin = 'synthetic'
    union
    select c.call_id, 2 from detail.calls c join detail.selections s on s.selection_id = c.selection_id
    where $origin = 'real' and list_contains(s.demonstrations, $id)
)
select c.step, c.model, c.base_url, c.status, c.attempts, c.prompt_tokens, c.completion_tokens, c.cost_usd,
    c.finished_at, c.template_hash, c.call_id, c.selection_id, c.system, c.user, c.reply
from (select call_id, min(place) as place from asked group by call_id) k
join detail.calls c on c.call_id = k.call_id
order by k.place, c.finished_at, c.call_id
