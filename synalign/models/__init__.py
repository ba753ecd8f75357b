"""ROOM: what is trained on the data. Vectors and texts in, probabilities or projections out; no tables, no settings.

numpy, scikit-learn and torch; transformers only where its extra is installed.
"""
