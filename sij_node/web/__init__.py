"""The web pages and the HTTP API: renderings of `sij_node.operate.admin`."""
