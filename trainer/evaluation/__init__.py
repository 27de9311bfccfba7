"""Evaluation of both networks: contour errors, lesion scores, reports."""
