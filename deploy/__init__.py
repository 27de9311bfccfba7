"""How the node is set up, tried and measured."""
