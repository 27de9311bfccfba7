"""Pure translation between DICOM datasets and the types of the node: no files, no sockets."""
