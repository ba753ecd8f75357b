"""What a trained model or a ranking is worth."""
