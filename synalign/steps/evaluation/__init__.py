"""Whether synthetic records improve a model, and how their texts compare with real ones."""
