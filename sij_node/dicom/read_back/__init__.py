"""Readers for the node's own results, independent of the code that writes them."""
