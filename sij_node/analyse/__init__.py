"""From a stored study to its results: the worker, its analysis process and the pipeline."""
