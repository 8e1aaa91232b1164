"""What a set of finished runs says: collect them, group them, compare the groups."""

ALPHA = 0.05
"""The risk of calling any difference real by chance, where none is typed."""
