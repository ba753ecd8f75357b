"""SynAlign: match weighted LLM-written text to the distribution of real text, inside LanceDB and DuckDB."""

__version__ = "0.1.0"
