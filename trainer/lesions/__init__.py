"""Training the lesion network."""
