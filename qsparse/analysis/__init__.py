"""Analysis: how sparsity and quantization interact, in numbers.

What "Effective Interplay between Sparsity and Quantization" (Harma et al., ICLR 2025)
defines and proves, as functions of arrays.
"""

from qsparse.analysis.dot_products import DotProductErrors, dot_product_errors
from qsparse.analysis.masks import sum_of_differences
from qsparse.analysis.ranks import rank_correlation
from qsparse.analysis.swaps import Swaps, swaps
from qsparse.analysis.tensors import TensorErrors, tensor_errors
from qsparse.analysis.threshold import Threshold, threshold

__all__ = [
    "DotProductErrors",
    "Swaps",
    "TensorErrors",
    "Threshold",
    "dot_product_errors",
    "rank_correlation",
    "sum_of_differences",
    "swaps",
    "tensor_errors",
    "threshold",
]
