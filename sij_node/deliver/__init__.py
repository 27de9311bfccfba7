"""How results are sent to their destinations."""
