"""What a recipe makes of a model, before any layer is touched."""
