"""Problems that a GPU integrates in one kernel: the same motion, and the kernels of a program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.numerics.time_kernel import Kernel
from physopt.problem import Batch
from physopt.problems import crank_nicolson, oscillators, quantum
from physopt.problems.burgers import Burgers, scheme
from physopt.problems.burgers.control import end_state
from physopt.problems.burgers.scenes import driven
from physopt.problems.oscillators import Oscillators
from physopt.problems.quantum import QuantumDipole
from tests.triton_modules import triton_modules


def agree(function, *given, layout, atol):
    """Compare a function of a kernel, jitted, with the same one of `lax.scan`, in float64."""
    expected, actual = (
        jax.jit(lambda *given, k=kernel: function(*given, k))(*given) for kernel in (None, layout)
    )
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(actual))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), actual, expected)


def test_oscillators_move_alike():
    generator = np.random.default_rng(0)
    start, control = generator.uniform(size=(3, 4)), 0.1 * generator.normal(size=(3, 16))

    def motion(control, start, kernel):
        y = oscillators.final_state(control, start, 0.125, kernel)
        return jnp.sum(y**2), y

    with jax.enable_x64(True):
        agree(
            jax.grad(motion, has_aux=True), jnp.asarray(control), jnp.asarray(start),
            layout=Kernel(interpret=True), atol=1e-14,  # sums in another order
        )  # fmt: skip


def test_fields_move_alike():
    generator = np.random.default_rng(1)
    forces, start = 0.1 * generator.normal(size=(2, 4, 8)), generator.normal(size=(2, 8))
    # Displacements of whole cells, and some that lead out of the grid: derivatives of one side.
    start[0] = [1, -2, 0, 9, 0.5, -9, 3, -1]

    def motion(forces, start, kernel):
        end = end_state(forces, start, 0.1, kernel)
        return jnp.sum(end**2), (end, driven(start, forces[:, 0], 3, 0.1, kernel))

    with jax.enable_x64(True):
        agree(
            jax.grad(motion, has_aux=True), jnp.asarray(forces), jnp.asarray(start),
            layout=Kernel(lanes=1, interpret=True), atol=2e-12,  # rounding of derivatives near 100
        )  # fmt: skip


def test_elimination_agrees_with_the_solver():
    """Final state, its derivative forwards and the Jacobian, at controls that dominate H."""
    small = QuantumDipole(points=4, steps=5)
    scheme = small.eigenstate(1), small.spacing, small.time_step, Kernel(lanes=1, interpret=True)

    def eliminated(x):
        _, forwards = jax.jvp(lambda x: crank_nicolson.evolve(x, *scheme), (x,), (jnp.cos(x),))
        return *crank_nicolson.linearized(x, *scheme), forwards

    with jax.enable_x64(True):
        control = jnp.asarray(20 * np.random.default_rng(3).normal(size=(3, 5)))
        final, slope = jax.jit(small._linearize)(control)
        expected = final, slope, jnp.einsum("bmk,bk->bm", slope, jnp.cos(control))
        for a, b in zip(jax.jit(eliminated)(control), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-13)  # five steps of rounding


def test_oscillators_take_one_kernel_and_one_for_the_gradient(monkeypatch):
    monkeypatch.setattr(oscillators, "has_triton", lambda: True)
    state = jax.ShapeDtypeStruct((32, 4), jnp.float32)
    control = jax.ShapeDtypeStruct((32, 96), jnp.float32)

    def total(control, state):
        return jnp.sum(Oscillators().simulate(control, Batch(state, state, state)))

    assert len(triton_modules(total, control, state, monkeypatch=monkeypatch)) == 1
    assert len(triton_modules(jax.grad(total), control, state, monkeypatch=monkeypatch)) == 2


@pytest.mark.parametrize(("points", "kernels"), [(6, 2), (65, 0)])
def test_the_jacobian_of_quantum_takes_two_kernels(points, kernels, monkeypatch):
    """Without 64-bit types outside; too many points are left to the solver."""
    monkeypatch.setattr(quantum, "has_triton", lambda: True)
    problem = QuantumDipole(points=points)
    control = jax.ShapeDtypeStruct((16, 384), jnp.float32)
    modules = triton_modules(
        lambda x: problem.linearize(x, Batch((), ())), control, monkeypatch=monkeypatch
    )
    assert len(modules) == kernels
    assert all("f64" in module for module in modules)


@pytest.mark.parametrize(("cells", "kernels"), [(32, 3), (24, 0)])
def test_scenes_fields_and_gradient_take_one_kernel_each(cells, kernels, monkeypatch):
    """Other sizes than powers of two are left to XLA."""
    monkeypatch.setattr(scheme, "has_triton", lambda: True)
    problem = Burgers(cells=cells)

    def loss(forces, keys):
        batch = problem.sample(keys)
        return jnp.sum(problem.loss(problem.simulate(forces, batch), batch))

    forces = jax.ShapeDtypeStruct((16, 32, cells), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 16)
    modules = triton_modules(jax.grad(loss), forces, keys, monkeypatch=monkeypatch)
    assert len(modules) == kernels
