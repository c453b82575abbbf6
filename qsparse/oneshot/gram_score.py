"""The score by the Gram matrix: what a weight costs if the others make up for it."""

import numpy as np

from qsparse.oneshot.problem import Problem


def gram_scores(problem: Problem) -> np.ndarray:
    """Returns `w^2 / [H^-1]_jj` of every weight, `(taps, inputs, outputs)`.

    It is by how much the error grows if this weight alone goes and all others follow
    (Hassibi and Stork, "Optimal brain surgeon", 1993).
    """
    inverse = np.linalg.inv(problem.damped)
    return problem.canonical(problem.weights**2 / np.diag(inverse))
