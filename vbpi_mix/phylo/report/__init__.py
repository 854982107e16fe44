"""What a fit leaves for readers and other programs.

summaries: trees drawn from a fit, their consensus and topologies. figures: pictures.
"""
