"""Tables. Only `lake` imports lancedb, only `query` imports duckdb."""
