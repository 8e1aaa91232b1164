"""What pages share: style, plots and pictures; and the page of one run."""
