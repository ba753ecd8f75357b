"""The Lance tables, their schemas and the record of runs. Only `lake` imports lancedb."""
