"""The drawings of the docs."""
