-- Records of a finished embedding that have no vector.
-- cure: fit a new version of the embedder: 'synalign embed DIR --refit'
-- needs: raw_runs, embedded, vectors
select r.run_id, named(r.parameters, 'embedder') as embedder, t.origin, t.id
from raw_runs r
join (select run_id, unnest(inputs) as input from raw_runs) i on i.run_id = r.run_id
join embedded t on t.run_id = i.input and t.origin = named(r.parameters, 'origin')
anti join vectors v on v.embedder = named(r.parameters, 'embedder') and v.origin = t.origin and v.id = t.id
where r.step = 'embed'
