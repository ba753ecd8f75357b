"""What several parts of numerics use."""
