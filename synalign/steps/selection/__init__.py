"""Clusters, and the demonstrations that a Gaussian process picks from them."""
