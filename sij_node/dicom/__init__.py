"""Pure translation between DICOM datasets and our own types: no files, no sockets."""
