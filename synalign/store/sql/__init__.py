"""SQL over the tables. Only this folder imports duckdb."""
