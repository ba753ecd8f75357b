"""Files on disk: atomic writes, errors, links, search in bytes."""
