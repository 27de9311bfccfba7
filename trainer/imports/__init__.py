"""Imports for training: a site's own cases, NIfTI images, the SpineNet V2 encoder."""
