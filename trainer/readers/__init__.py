"""Learning lesions from many readers: trials, the readers' model, its rivals, their evaluation."""
