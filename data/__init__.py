"""What each benchmark alignment is, and where it is fetched from; read by vbpi_mix.phylo.data.benchmarks."""
