"""Retrievers: trained, ranked, compared."""
