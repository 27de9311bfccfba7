"""Training the contour network."""
