"""The steps in which a language model writes attributes, records and annotations."""
