"""Tree samples made from an alignment: our own sampler, and other programs."""
