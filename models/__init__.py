"""The networks and their inference: volumes in, delineations and findings out.

This package works on arrays and tensors and never touches DICOM. The node (``sij_node``) and the
training package (``trainer``) both import it; it imports neither.
"""
