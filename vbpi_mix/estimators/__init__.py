"""The estimators of the mixture bound. Torch only: no trees, no images, no files."""
