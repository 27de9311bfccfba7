"""Readings, and models of reader errors."""
