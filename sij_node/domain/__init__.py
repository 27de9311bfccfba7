"""What the node knows, as frozen values and pure decisions: no file, socket, database or clock."""
