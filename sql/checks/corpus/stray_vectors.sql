-- Vectors of records that are not there: of a generation that was killed, or of records that went.
-- kind: leftover
-- cure: nothing has to be done: they are used when the step runs again, and no query shows them
-- needs: vectors, embedded
select v.embedder, v.origin, v.id
from vectors v
anti join embedded t on t.origin = v.origin and t.id = v.id
