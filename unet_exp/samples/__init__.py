"""Samples: images with their labels, what is known of them, how their values become numbers and classes."""
