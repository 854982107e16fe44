"""Alignments, site patterns, and the benchmark data sets.

alignment: read and written. site_patterns: the distinct columns and how often each comes. benchmarks: DS1 to DS8,
what they are and where they are found.
"""
