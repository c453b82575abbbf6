"""What a file computes in, as its metadata say it."""

INT8, DYNAMIC_RANGE, FLOAT = "int8", "dynamic-range", "float"
