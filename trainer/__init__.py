"""The training package: phantom, training and evaluation.

Its only product for the node is a weights file with its model card.
"""
