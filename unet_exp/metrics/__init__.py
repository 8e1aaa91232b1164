"""How good a segmentation is."""

METRICS_VERSION = 1
"""Raised whenever a definition changes, so that scores of two versions are never compared."""
