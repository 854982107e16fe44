"""Mixtures in the latent space of an image model (MISVAE, Hotti et al. 2024)."""
