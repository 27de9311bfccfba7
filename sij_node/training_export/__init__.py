"""A stored study, with what people drew and read on it, as a training case."""
