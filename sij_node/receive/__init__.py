"""How studies come in: the listener, its associations and C-STORE."""
