"""A user's image files as a data set: what is known of them, where they are kept, and how parts of them are read."""
