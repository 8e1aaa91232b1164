"""Pictures: overlays of predictions, learning curves, and the drawings in `docs/`."""
