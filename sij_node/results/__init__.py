"""The objects that are sent: SRs, segmentations, presentation states, pictures, PDF."""
