"""Training with Lightning: the module, the data, the callbacks and the loggers."""
