"""Export of a stored study with its contours and readings as a training case."""
