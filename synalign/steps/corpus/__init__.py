"""Records and documents: brought in, excluded, sampled, exported, searched."""
