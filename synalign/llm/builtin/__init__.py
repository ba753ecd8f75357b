"""Models that answer without a network: the embedded generator and recordings."""
