"""Sampling weights by Maximum Mean Discrepancy."""
