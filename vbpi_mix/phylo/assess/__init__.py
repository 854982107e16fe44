"""How good a fit or a sample is.

comparison: two distributions over topologies side by side. divergence: KL, and topologies of a share. coverage:
how much of held-out trees a support holds.
"""
