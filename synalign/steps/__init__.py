"""The steps of a workspace, a file for each verb: read tables, call pure functions, write tables."""
