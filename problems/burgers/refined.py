"""Hierarchical predictor-corrector with refinement: predictions are updated by reached states."""

import jax

from physopt.problems.burgers.staggered import StaggeredPrediction
from physopt.problems.predictor_corrector import execute, schedule


class RefinedPrediction(StaggeredPrediction):
    """The predictors of `StaggeredPrediction`, with predictions refined as states are reached.

    After the first half of an interval, its end is predicted again, as the centre between the state
    reached and a field half an interval beyond the end. n steps take 3 n - 2 log2(n) - 3
    sequential predictions.

    Source: algorithm 1 of P. Holl, V. Koltun, N. Thuerey, arXiv 2001.07457.
    """

    def _forces(self, ends: jax.Array) -> jax.Array:
        actions = schedule(0, self.steps, refined=True)
        return execute(self.predictors, self._correct, (), ends, actions)[1]

    def _correct(
        self, hidden: tuple[()], u: jax.Array, wanted: jax.Array
    ) -> tuple[tuple[()], jax.Array, jax.Array]:
        """Reach the wanted state: a force acts on every cell."""
        return hidden, wanted, self._towards(u, wanted)
