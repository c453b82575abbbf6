"""Bytes of .tflite, .qsp, .keras and .npz: what is untrusted is read here."""
