"""How good the networks are: every contour judged, summed up, and written down."""
