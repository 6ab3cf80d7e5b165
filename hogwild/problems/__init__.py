"""What is minimised: linear models on sparse rows, low-rank factors, multiway cuts."""

from hogwild.problems.base import Problem
from hogwild.problems.graph_cuts import GraphCut
from hogwild.problems.linear import LinearProblem
from hogwild.problems.losses.hinge import HingeSVM
from hogwild.problems.losses.logistic import Logistic
from hogwild.problems.losses.squared import LeastSquares
from hogwild.problems.matrix_completion import MatrixCompletion

LINEAR_PROBLEMS: dict[str, type[LinearProblem]] = {
    problem.name: problem for problem in (LeastSquares, Logistic, HingeSVM)
}
PROBLEMS: dict[str, type[Problem]] = {
    **LINEAR_PROBLEMS,
    **{problem.name: problem for problem in (MatrixCompletion, GraphCut)},
}
