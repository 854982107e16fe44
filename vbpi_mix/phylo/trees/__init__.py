"""Trees: their shapes, the formats that hold them, and samples of them.

topology: the canonical form that everything else works on. newick: one tree as text and back. nexus: words, labels and
.trprobs. files: one tree file read; tables: those of RevBayes; by_dendropy: what is not read so. find: which files are a
sample. sample: several files as one sample with weights; copies: identical sequences in it. credible: the fewest topologies
that hold a share.
"""
