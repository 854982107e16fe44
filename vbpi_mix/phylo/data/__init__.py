"""Alignments, site patterns, and the benchmark data sets.

alignment: read and written, by way of plain_formats (FASTA, PHYLIP), nexus_commands, nexus_matrix, site_sets and
deleted_taxa (NEXUS), sequences (text to states) and alphabets (which states there are). site_patterns: the distinct columns
and how often each comes. partitions: parts with models of their own. benchmarks: DS1 to DS8, what they are and where they
are found.
"""
