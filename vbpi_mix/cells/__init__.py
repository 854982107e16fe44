"""Mixtures in the latent space of single cells: scVI with several encoders, on the same estimators as trees and images."""
