"""The laboratory: phantom, training and evaluation.

It hands the node one thing only: a weights file with its card.
"""
