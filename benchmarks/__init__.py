"""Long studies over layers and models that others wrote; not part of the wheel.

They run from a checkout, each with a `make` target, and write tables into docs.
"""
