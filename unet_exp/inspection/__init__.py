"""A look at images and masks before a training."""
