"""Allocation: how the recipe's sparsity is shared out among layers."""

from qsparse.methods.allocations.base import ALLOCATIONS, Allocation, Kernel
from qsparse.methods.allocations.uniform import Uniform

__all__ = ["ALLOCATIONS", "Allocation", "Kernel", "Uniform"]
