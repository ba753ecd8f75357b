-- The retrievers that were trained. Each has its own table of the documents' vectors in `lance/`, which SQL does not
-- show, and an index over it where there are enough documents.
-- key: run_id
-- run_id: the run that trained it
-- name: name of the retriever; of several with one name the newest is used
-- trained_on: `frozen` (nothing: the embedder as it is), `real`, `synthetic`, `weighted` (synthetic by weight),
--     `real+synthetic` or `real+weighted`
-- embedder: the embedder whose vectors it projects
-- dimensions: length of the retriever's vectors
-- settings: how it was trained, as JSON
-- share: share of the synthetic pairs in all sample weight
-- real_pairs: number of pairs of a real query and its document that it was trained on
-- synthetic_pairs: number of pairs of a synthetic query with a positive weight and its document that it was trained on
-- documents: number of documents that it embedded
-- index_kind: kind of the index over its documents; null where every search compares all documents
-- probes: partitions of the index that a search reads
-- refine: a search compares this many times as many candidates exactly; null for none
-- index_recall: share of the ten best documents of training queries that a search through the index found
-- index_goal: value of `index_recall` that was asked for
-- train_seconds: time of the training
-- index_seconds: time of storing and indexing the documents
-- needs: runs
select t.run_id, t.name, t.trained_on, t.embedder, t.dimensions, t.settings, t.share, t.real_pairs, t.synthetic_pairs,
    t.documents, t.index_kind, t.probes, t.refine, t.index_recall, t.index_goal, t.train_seconds, t.index_seconds
from raw_retrievers t join main.runs r on r.run_id = t.run_id
