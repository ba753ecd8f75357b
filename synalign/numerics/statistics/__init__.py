"""Statistics of samples: distances, tests, intervals."""
