"""Rewrites of the graph on its way to int8."""
