-- The synthetic records, generated here or ingested with --synthetic, excluded ones too.
-- id: given, or a hash of text, label and the split that the file names (train as none)
-- call_id, selection_id, attributes_id: where a generated record came from; null for ingested ones
-- written_from: attributes, recombined or demonstrations, see lineage; null for ingested ones
-- multiplicity: how often the record came
-- needs: runs, multiplicities
select t.*, coalesce(m.multiplicity, 1) as multiplicity
from raw_synthetic t
join runs r on r.run_id = t.run_id
left join multiplicities m on m.origin = 'synthetic' and m.id = t.id
