"""What a file computes in, as its metadata say it."""

INT8, A16W8, DYNAMIC_RANGE, FLOAT = "int8", "a16w8", "dynamic-range", "float"
