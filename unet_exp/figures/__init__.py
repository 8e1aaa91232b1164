"""Pictures: overlays of predictions, learning curves, search plots and contact sheets."""
