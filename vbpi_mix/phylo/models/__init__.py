"""Models of substitution: likelihoods, priors and the posterior they make; data simulated under them."""
