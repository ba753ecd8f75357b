"""Sampling weights for synthetic records: learned, scored, measured, checked."""
