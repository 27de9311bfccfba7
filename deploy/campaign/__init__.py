"""A campaign of faults against a whole node: random kills, cut connections, load.

An invariant checker of its own judges, not the node: what was acknowledged must be stored bit for
bit, and what had to be delivered must be at the archive, once.
"""
