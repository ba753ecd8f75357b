-- The retrievers that were trained. Each has its own table of the documents' vectors in `lance/`, which SQL does not
-- show, and an index over it where there are enough documents.
-- key: run_id
-- run_id: the run that trained it
-- name: what it is called; of several with one name the newest is used
-- trained_on: `frozen` (nothing: the embedder as it is), `real`, `synthetic`, `weighted` (synthetic by weight),
--     `real+synthetic` or `real+weighted`
-- embedder: whose vectors it projects
-- dimensions: length of its own vectors
-- settings: JSON: how it was trained
-- share: the share of all sample weight that the synthetic pairs had
-- real_pairs: pairs of a real query and its document
-- synthetic_pairs: pairs of a synthetic query of positive weight and its document
-- documents: how many there were
-- index_kind: of the index over its documents; null where all documents are compared
-- probes: partitions of the index that a search looks at
-- refine: how many times as many candidates are compared exactly; null for none
-- index_recall: share of the ten best of training queries that the index found so
-- index_goal: and the share that was wanted
-- train_seconds: that training took
-- index_seconds: that storing and indexing the documents took
-- needs: runs
select t.run_id, t.name, t.trained_on, t.embedder, t.dimensions, t.settings, t.share, t.real_pairs, t.synthetic_pairs,
    t.documents, t.index_kind, t.probes, t.refine, t.index_recall, t.index_goal, t.train_seconds, t.index_seconds
from raw_retrievers t join main.runs r on r.run_id = t.run_id
