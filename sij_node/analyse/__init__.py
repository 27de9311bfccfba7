"""Analysis of stored studies: the worker, its analysis process and the pipeline."""
