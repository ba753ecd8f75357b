"""Rules for generated text."""
