"""Errors of the training package: one line each for the user, and an exit status.

A message says what is wrong, with which file or value, what is needed and what to do.
"""


class TrainingInputInvalid(ValueError):
    """An experiment, a case, a split or a checkpoint cannot be used."""
