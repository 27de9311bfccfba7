"""What decides when a stored study is analysed: completeness, schedule and leases."""
