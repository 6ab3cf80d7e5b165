"""What is minimised: linear models on sparse rows, low-rank factors, multiway cuts."""

from hogwild.problems.base import Problem
from hogwild.problems.graph_cuts import GraphCut
from hogwild.problems.linear import HingeSVM, LeastSquares, LinearProblem, Logistic
from hogwild.problems.matrix_completion import MatrixCompletion

LINEAR_PROBLEMS: dict[str, type[LinearProblem]] = {
    problem.name: problem for problem in (LeastSquares, Logistic, HingeSVM)
}
PROBLEMS: dict[str, type[Problem]] = {
    **LINEAR_PROBLEMS,
    MatrixCompletion.name: MatrixCompletion,
    GraphCut.name: GraphCut,
}
__all__ = [
    "LINEAR_PROBLEMS",
    "PROBLEMS",
    "GraphCut",
    "HingeSVM",
    "LeastSquares",
    "LinearProblem",
    "Logistic",
    "MatrixCompletion",
    "Problem",
]
