"""The conformance statement: what a hospital's engineers read before they connect the node."""

from sij_node.conformance.statement import statement

__all__ = ["statement"]
