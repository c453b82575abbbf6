"""Measures: what pruning and rounding do to a model, on a user's data."""
