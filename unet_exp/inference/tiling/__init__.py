"""The overlap-tile strategy (paper, section 2, Fig. 2)."""
