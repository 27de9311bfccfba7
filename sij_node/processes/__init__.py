"""The processes of the node; the only place where its parts are wired together."""
