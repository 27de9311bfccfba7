"""Installation, demo and benchmarks of the node."""
