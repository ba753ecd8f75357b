-- Records without text.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: records
select origin, id from records where coalesce(trim(text) = '', true)
