"""The command line of vbpi-mix: each command parses, calls once, writes."""
