"""The demonstration: a phantom study goes in, coded findings come back."""
