"""Prompts, the answers they ask for, and reading those from replies."""
