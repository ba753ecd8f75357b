"""What the language model writes: attributes, records, annotations."""
