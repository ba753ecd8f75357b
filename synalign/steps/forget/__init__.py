"""Removing real records for good, with what was derived from them."""
