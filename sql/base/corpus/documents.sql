-- The documents that queries are answered with, with the user's own columns after `run_id`. A record is a query for the
-- document whose id is its label.
-- key: id
-- id: given by the user
-- text: the text that is embedded and searched
-- run_id: the run that brought it
-- needs: runs
select d.* from raw_documents d join main.runs r on r.run_id = d.run_id
