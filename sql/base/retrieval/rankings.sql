-- What each retriever found for each test query, best first, by exact search: at most the first hundred documents.
-- key: run_id, retriever, query_id, rank
-- run_id: the run that evaluated
-- retriever: its name, see `retrievers`
-- query_id: the real record that is the query
-- rank: from 1
-- document_id: the document
-- score: cosine similarity of query and document, as the retriever sees them
-- needs: runs
select k.* from raw_rankings k join main.runs r on r.run_id = k.run_id
