"""Engine: what is attached to a model that compresses it."""
