"""Fingerprints change with every bit; dependence on an argument is read from the jaxpr."""

import jax
import jax.numpy as jnp
import numpy as np

from physopt.numerics.fingerprint import depends, fingerprint


def test_every_bit_and_the_order_matter():
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**32, 40, dtype=np.uint32)
    seen = {int(fingerprint(words))}
    for position in range(words.size):
        changed = words.copy()
        changed[position] ^= np.uint32(1) << np.uint32(position % 32)
        seen.add(int(fingerprint(changed)))
    seen.add(int(fingerprint(words[::-1].copy())))
    assert len(seen) == words.size + 2


def test_all_types_and_leaves_count():
    with jax.enable_x64(True):
        tree = {"a": jnp.arange(3.0), "b": (jnp.asarray([True, False]), jnp.arange(2))}
        before = fingerprint(tree)
        assert before == jax.jit(fingerprint)(tree)
        for name, other in (
            ("a", jnp.arange(3.0).at[1].add(2**-52)),
            ("b", (jnp.asarray([True, True]), jnp.arange(2))),
        ):
            assert before != fingerprint({**tree, name: other})
        assert fingerprint(()) == 0


def test_dependence_on_an_argument():
    x = jnp.arange(3.0)
    assert depends(lambda t: jnp.sum(x * t), x)
    assert depends(jax.jit(lambda t: x + t), x)
    assert depends(lambda t: t, x)
    assert not depends(lambda t: jnp.sum(x), x)
    assert not depends(lambda t: (t + 1, jnp.sum(x))[1], x)
    assert not depends(lambda _: jnp.sum(x), ())
