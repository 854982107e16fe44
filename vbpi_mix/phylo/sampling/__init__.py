"""Tree samples made from an alignment.

sources: which maker, and what it says of itself. sampler: our own, of several chains; chains: their state;
convergence: whether they agree. programs: IQ-TREE and MrBayes. widen: neighbours of the most frequent topologies.
"""
