-- Labels that stand for something else in the tables: * and (none).
-- cure: rename the label in the source, and ingest it in a new workspace
-- needs: records
select origin, id, label from records where label in ('*', '(none)')
