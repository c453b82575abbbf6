"""The frozen graph: made of a model, looked at, run, converted."""
