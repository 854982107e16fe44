"""How good a fit or a sample is."""
