"""A phantom of the sacroiliac joints on MRI: anatomy, lesions, physics and scanner, all invented.

Everything that looks at such images is phantom-trained and not for clinical use.
"""
