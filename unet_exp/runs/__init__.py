"""The run folder of a training and of a sweep: what is in it, and finding an earlier one. Knows no torch."""
