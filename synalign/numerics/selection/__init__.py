"""Selection by the posterior variance of a Gaussian process."""
