"""The page and the HTTP API: what `sij_node.admin` can ask and do, in a browser."""
