"""Recipes: data and models that run end to end."""
