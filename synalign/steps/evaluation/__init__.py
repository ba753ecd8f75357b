"""Whether synthetic records help a model, and what the texts are like."""
