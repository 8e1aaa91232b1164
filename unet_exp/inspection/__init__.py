"""Inspection of images and masks before a training."""
