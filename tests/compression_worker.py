"""Takes every registered method through everything; run by `test_compression_on_jax`.

Usage: compression_worker.py FOLDER
"""

import os
import sys
import traceback
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests.compression import EVERY, drawn, one_method, run_compression_test

WHOLE = os.environ.get("QSPARSE_EVERY_METHOD") == "1"


def main(folder):
    """Run all cases; the exit code is how many failed, and each is shown."""
    # Each compiles for a long time: of the methods, those that are traced; all others
    # work on the host, and are equal there.
    makers = {
        " ".join(place): lambda place=place: one_method(*place)
        for place in EVERY
        if WHOLE or place[0] in ("estimator", "regrowth")
    }
    makers |= {f"seed {n}": lambda n=n: drawn(n)[0] for n in range(100, 104) if WHOLE}
    failed = 0
    for name, make in makers.items():
        try:
            run_compression_test(make(), folder, policies=())
        except Exception:
            failed += 1
            sys.stderr.write(f"{name}: {traceback.format_exc()}\n")
    sys.exit(failed)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
