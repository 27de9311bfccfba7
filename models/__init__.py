"""What the networks see and say: volumes in, delineations and findings out.

This package knows arrays and tensors and nothing of DICOM. The hospital side (``sij_node``) and
the laboratory (``trainer``) both build on it; it imports neither.
"""
