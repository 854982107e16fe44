"""Likelihoods of four states on a CUDA device; numba.cuda is imported when one is asked for."""
