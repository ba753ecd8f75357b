"""Reads a user's files and frames, and turns their rows into records."""
