"""Shared by all steps: their context and outcome, `run_step`, and reading rows as arrays."""
