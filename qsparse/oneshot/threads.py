"""Threads: many small systems are solved faster by one thread than by several.

OpenBLAS shares out each system, however small, and waits for all of its threads; where
other programs use the same cores that took 20 to 60 times as long.
"""

from contextlib import AbstractContextManager, nullcontext

from threadpoolctl import threadpool_limits


def for_systems(count: int) -> AbstractContextManager:
    """Returns the scope in which numpy solves so many systems, one after the other.

    A single one, which is large, keeps all threads.
    """
    return threadpool_limits(1, user_api="blas") if count > 1 else nullcontext()
