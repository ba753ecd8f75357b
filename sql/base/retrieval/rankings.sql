-- The first hundred documents, at most, that each retriever found for each test query, by exact search.
-- key: run_id, retriever, query_id, rank
-- run_id: the run that ranked
-- retriever: name of the retriever, see `retrievers`
-- query_id: the real record that is the query
-- rank: rank of the document, from 1
-- document_id: id of the document
-- score: cosine similarity of the retriever's vectors of query and document
-- needs: runs
select k.* from raw_rankings k join main.runs r on r.run_id = k.run_id
