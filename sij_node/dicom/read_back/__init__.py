"""The node's own results as whoever receives them reads them, by code of its own."""
