"""A simulated MRI phantom of the sacroiliac joints: anatomy, lesions, MR physics and scanner.

Networks trained on these images are not for clinical use.
"""
