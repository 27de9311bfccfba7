"""`sij-node doctor`: asks everything the node depends on, and says what to do where it is wrong."""
