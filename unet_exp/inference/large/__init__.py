"""Images larger than memory: predicted tile by tile within a budget."""
