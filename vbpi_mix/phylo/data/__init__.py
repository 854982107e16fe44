"""Alignments, site patterns, and the benchmark data sets."""
