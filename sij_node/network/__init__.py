"""Associations with other DICOM nodes."""
