"""What a fit leaves for readers and other programs."""
