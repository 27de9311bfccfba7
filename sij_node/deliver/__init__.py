"""Delivery of results to their destinations."""
