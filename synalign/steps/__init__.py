"""The connections: one verb a file; each reads tables, calls a pure function, writes tables."""
