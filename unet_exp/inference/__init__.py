"""From an image to class probabilities."""
