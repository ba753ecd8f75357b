-- Records of a split that is none: train, validation and test are.
-- cure: name the split in the source as one of them, and ingest it in a new workspace
-- needs: records
select origin, id, split
from records
where coalesce(split not in ('train', 'validation', 'test'), true)
