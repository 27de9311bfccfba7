"""The audit trail: DICOM audit messages and where they are sent."""
