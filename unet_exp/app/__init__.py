"""The entry points: one function each, config in, result out."""
