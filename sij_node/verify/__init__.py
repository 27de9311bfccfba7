"""The self-check: every result is read back and compared with the findings before delivery."""
