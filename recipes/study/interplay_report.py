"""placeholder"""


def write_report(folder, rows):
    raise NotImplementedError
