"""Interpreters; they need neither TensorFlow nor Keras."""
