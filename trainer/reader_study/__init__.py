"""A reader study: simulated trials, cross-validated lesion heads, and their evaluation."""
