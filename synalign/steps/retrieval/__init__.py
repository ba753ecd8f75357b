"""Trains retrievers, ranks documents with them, and compares them."""
