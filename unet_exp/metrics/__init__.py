"""How good a segmentation is."""

METRICS_VERSION = 2
"""Raised whenever a definition changes, so that scores of two versions are never compared."""
