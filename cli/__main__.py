"""`python -m vbpi_mix_cli`, which is how torchrun starts the command line."""

from vbpi_mix_cli.main import main

main()
