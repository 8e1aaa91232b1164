"""What a set of finished runs says: collect them, group them, compare the groups."""
