"""Pieces: the results of the whole batch, from one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.machine.pieces import in_pieces


@pytest.mark.parametrize("batch", [1, 6, 7, 64])
def test_pieces_are_joined_in_order_and_traced_once(batch):
    traced = []

    def function(x, other):
        traced.append(x.shape)
        return {"sum": x + other["y"], "row": jnp.sum(x, axis=1)}

    x, y = jnp.arange(3.0 * batch).reshape(batch, 3), jnp.ones((batch, 3))
    result = in_pieces(function, x, {"y": y}, size=4)
    np.testing.assert_array_equal(result["sum"], x + y)
    np.testing.assert_array_equal(result["row"], jnp.sum(x, axis=1))
    assert len(traced) == 1
    assert batch % traced[0][0] == 0
    assert traced[0][0] <= 4


def test_a_failure_in_a_piece_is_raised():
    def refuse(x):
        if x[0] >= 4:
            raise ArithmeticError("no such sample")
        return x

    with pytest.raises(Exception, match="no such sample"):
        in_pieces(lambda x: jax.pure_callback(refuse, x, x), jnp.arange(8.0), size=2)
