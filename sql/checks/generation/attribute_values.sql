-- Values of attributes that are not there.
-- cure: restore the workspace from a copy; no step repairs this
-- needs: kept_attribute_values, kept_attributes
select v.run_id, v.attributes_id, v.name
from kept_attribute_values v
anti join kept_attributes a on a.id = v.attributes_id
