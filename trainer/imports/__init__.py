"""Data brought in for training: own cases, NIfTI, the encoder of SpineNet V2."""
