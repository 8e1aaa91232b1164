"""The data sets that a config can name, one file each."""
