"""The page and the HTTP API: what `sij_node.operate.admin` can ask and do, in a browser."""
