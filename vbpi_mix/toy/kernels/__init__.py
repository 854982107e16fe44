"""Kernels of the toy problems: arrays in, arrays out, under the one JIT policy."""
