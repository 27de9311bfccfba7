"""What readers said, and models of how readers err."""
