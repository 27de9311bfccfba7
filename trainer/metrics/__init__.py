"""Metrics of contours, pointing and classification; nothing here knows a network."""
