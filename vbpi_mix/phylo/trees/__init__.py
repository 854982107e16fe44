"""Tree shapes, their files and samples of them."""
