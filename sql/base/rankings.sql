-- What a retriever answered each query with: the best documents, in order.
-- key: run_id, retriever, query_id, rank
-- run_id: the run that ranked
-- retriever: its name
-- query_id: the real record whose text was the query
-- rank: place of the document, from 1
-- document_id: the document
-- score: the retriever's score of it; higher is better
-- needs: runs
select k.* from raw_rankings k join runs r on r.run_id = k.run_id
