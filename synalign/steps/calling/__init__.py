"""From prompts to replies: requests, batches, budgets, recordings."""
