"""Removes real records for good, with everything that was derived from them."""
