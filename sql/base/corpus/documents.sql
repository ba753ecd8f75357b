-- The documents that queries are answered with. Columns of the user's file come after `run_id`. A record (query)
-- belongs to the document whose id is the record's label.
-- key: id
-- id: the document's id, given by the user
-- text: the text that is embedded and searched
-- run_id: the run of `documents` that brought it
-- needs: runs
select d.* from raw_documents d join main.runs r on r.run_id = d.run_id
