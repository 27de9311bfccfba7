"""`python -m sij_node` is the same as `sij-node`."""

from sij_node.cli.commands import main

if __name__ == "__main__":
    main()
