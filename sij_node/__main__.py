"""`python -m sij_node` is the same as `sij-node`.

Processes that the node spawns import this module again, under another name; they need no commands.
"""

if __name__ == "__main__":
    from sij_node.cli.commands import main

    main()
