"""The inverse-design problems: relaxations, penalties, inverse solver, user-supplied curves."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import physopt
from physopt.objective import build
from physopt.options import OptionError
from physopt.problems.ldft import isotherm
from physopt.problems.ldft.curves import read_isotherm
from physopt.problems.ldft.losses import binarisation_penalty, continuity_penalty
from physopt.problems.ldft.named import LDFT2D, LDFT3D, LDFTHysteresis
from physopt.problems.ldft.relaxation import binary, relax
from physopt.problems.ldft.targets import random_matrix
from physopt.records.samples import read_samples
from physopt.training.data import held_out_samples

SMALL = {"size": 6, "points": 10, "hidden": (16,)}


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def test_relaxations_end_binary_and_have_their_derivatives():
    x, one = jnp.linspace(-3, 3, 13)[None], jnp.ones(1)
    for relaxation in ("annealed", "straight_through"):
        np.testing.assert_array_equal(relax(x, one, relaxation), binary(x))
    np.testing.assert_allclose(relax(x, one, "relaxed"), jax.nn.sigmoid(x))
    np.testing.assert_allclose(relax(x, 0 * one, "annealed"), jax.nn.sigmoid(x))
    half = relax(x, 0.4 * one, "annealed")
    np.testing.assert_allclose(half, jax.nn.sigmoid(x * 8**0.6), rtol=1e-6)

    def slope(relaxation, progress):
        return jax.grad(lambda x: relax(x, progress * one, relaxation).sum())(x)

    s = jax.nn.sigmoid(8 * x)
    np.testing.assert_allclose(slope("annealed", 1.0), 8 * s * (1 - s), rtol=1e-5)
    inside = (jnp.abs(x) < 1) * 0.5
    edges = jnp.abs(x) == 1  # where clip has a kink, either one-sided derivative is right
    np.testing.assert_allclose(jnp.where(edges, 0, slope("straight_through", 1.0)), inside)


def test_a_softer_derivative_leaves_the_matrix_as_it_is():
    x, one = jnp.linspace(-3, 3, 13)[None], jnp.ones(1)
    for progress, k in ((0.0, 1.0), (0.2, 8**0.3), (0.4, 2.0), (1.0, 2.0)):
        eta, pull = jax.vjp(lambda x, t=progress: relax(x, t * one, "annealed", 2.0), x)
        np.testing.assert_array_equal(eta, relax(x, progress * one, "annealed"))
        s = jax.nn.sigmoid(k * x)
        np.testing.assert_allclose(pull(jnp.ones_like(x))[0], k * s * (1 - s), rtol=1e-5)


def test_nan_propagates_through_the_isotherm():
    """NaN pre-activations give NaN isotherms without sweeping up to the limit."""
    problem = LDFT2D(**SMALL)
    x = jnp.full((2, 6, 6), 0.5).at[0].set(jnp.nan)
    samples = held_out_samples(problem, 1)
    batch = jax.tree.map(lambda leaf: leaf[:2], samples).at(jnp.ones(2))

    def measured(x):
        y, slope = problem.linearize(x, batch)
        return y, slope, problem.metrics(x, y, batch), problem.loss(y, batch)

    y, slope, metrics, loss = jax.jit(measured)(x)
    for values in (y, slope, loss, metrics["area_percent"], metrics["porosity"]):
        assert np.isnan(values[0]).all()
        assert np.isfinite(values[1]).all()
    settings = {"dimensions": 2, "spacing": 0.1, "return_convergence": True}
    _, convergence = jax.jit(lambda eta: isotherm(eta, **settings))(jax.nn.sigmoid(x))
    assert convergence.sweeps[0].max() < 100
    assert convergence.unconverged[0] == 10


def test_penalties_have_known_values():
    board = jnp.indices((6, 6)).sum(0) % 2.0
    stripes = jnp.indices((6, 6))[0] % 2.0
    fields = jnp.stack([board, stripes, jnp.ones((6, 6)), jnp.full((6, 6), 0.5)])
    np.testing.assert_allclose(continuity_penalty(fields), [1, 0.5, 0, 0])
    np.testing.assert_allclose(binarisation_penalty(fields), [0, 0, 0, 1])
    # The definition: all ordered neighbour pairs, over 4 N^2.
    eta = jax.random.uniform(jax.random.key(0), (1, 5, 5))
    pairs = sum(
        float((eta[0, i, j] - eta[0, (i + a) % 5, (j + b) % 5]) ** 2)
        for i in range(5)
        for j in range(5)
        for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))
    )
    np.testing.assert_allclose(continuity_penalty(eta)[0], pairs / (4 * 25), rtol=1e-5)


def test_penalties_enter_the_loss_with_their_weights_and_keep_gradients_finite():
    weighted = LDFT2D(**SMALL, continuity=0.3, binarisation=0.7, relaxation="relaxed")
    plain = LDFT2D(**SMALL, relaxation="relaxed")
    batch = jax.jit(plain.sample)(keys(3)).at(0.5)
    x = jax.random.normal(jax.random.key(1), (3, 6, 6))
    loss = [p.loss(jax.jit(p.simulate)(x, batch), batch) for p in (weighted, plain)]
    eta = jax.nn.sigmoid(x)
    expected = 0.3 * continuity_penalty(eta) + 0.7 * 0.5 * binarisation_penalty(eta)
    np.testing.assert_allclose(loss[0] - loss[1], expected, atol=1e-5)
    uniform = jnp.zeros((3, 6, 6))  # R = 0, where the root has no derivative
    objective, _ = build(weighted, "default", 0)
    assert jnp.isfinite(jax.jit(jax.grad(objective.mean_loss))(uniform, batch)).all()


@pytest.mark.parametrize("misfit", ["squared", "area", "smooth_area"])
def test_misfits_are_their_definitions(misfit):
    problem = LDFT2D(**SMALL, misfit=misfit)
    batch = problem._batch(jnp.zeros((1, 10))).at(1.0)
    y = jnp.linspace(0, 0.9, 10)[None]
    expected = {
        "squared": 0.5 * np.sum(np.square(y)),
        "area": np.mean(np.abs(y)),
        "smooth_area": np.sum(np.sqrt(np.square(y) + 1e-4)),
    }[misfit]
    np.testing.assert_allclose(problem.loss(y, batch)[0], expected, rtol=1e-6)


def test_held_out_isotherms_belong_to_real_matrices():
    problem = LDFT2D(**SMALL)
    samples = held_out_samples(problem, 12)
    assert len(samples) == 36
    target = np.asarray(samples.target)
    assert (np.diff(target[:24], axis=1) >= 0).all(), "adsorption only ever rises"
    assert (target[:24, -1] < 1).all(), "no matrix is full at saturation"
    np.testing.assert_allclose(target[24:, -1], 1, atol=1e-5)  # procedural ones are


def test_the_error_of_a_design_is_that_of_its_rounded_matrix():
    problem = LDFT2D(**SMALL, relaxation="relaxed")
    matrices = jax.vmap(lambda k: random_matrix(k, (6, 6)))(keys(4))
    y = isotherm(matrices, dimensions=2, spacing=0.1)
    assert isinstance(y, jax.Array)
    batch = problem._batch(y).at(1.0)
    x = jnp.where(matrices > 0, 0.5, -0.5)  # far from binary when relaxed
    metrics = jax.jit(lambda x: problem.metrics(x, problem.simulate(x, batch), batch))(x)
    assert (metrics["area_percent"] < 1e-2).all()
    assert metrics["area_percent_relaxed"].max() > 10
    np.testing.assert_array_equal(metrics["unconverged"], 0)


@pytest.mark.parametrize("gradient", ["unrolled", "remat"])
def test_enough_sweeps_give_the_implicit_gradient_and_jacobian(gradient):
    # Plain sweeps contract by a constant factor, here to below 1e-8 well before the last one.
    implicit = LDFT2D(size=4, points=5, continuity=0.1, relaxation="relaxed")
    unrolled = implicit.replace(gradient=gradient, sweeps=400)
    with jax.enable_x64(True):
        batch = implicit._batch(jnp.linspace(0, 0.9, 5)[None] * jnp.ones((2, 1))).at(0.5)
        x = jax.random.normal(jax.random.key(0), (2, 4, 4), jnp.float64)

        def both(problem):
            objective, _ = build(problem, "default", 0)
            return jax.jit(
                lambda x: (jax.grad(objective.mean_loss)(x, batch), problem.linearize(x, batch))
            )(x)

        pairs = zip(*(jax.tree.leaves(both(p)) for p in (implicit, unrolled)), strict=True)
        for known, actual in pairs:
            np.testing.assert_allclose(actual, known, atol=1e-7)
            assert abs(known).max() > 1e-3


@pytest.mark.parametrize(
    "problem",
    [
        LDFT2D(**SMALL, inverse_iterations=4),
        LDFT3D(size=4, points=10, hidden=(16,)),
        LDFTHysteresis(**SMALL, inverse_offsets=(-1, 0, 1, 2)),
    ],
)
def test_the_inverse_step_reduces_the_error(problem):
    batch = jax.jit(problem.held_out)(keys(6)).at(0.0)
    x = jax.random.normal(jax.random.key(2), (6, *problem.shape))

    @jax.jit
    def error(x):
        return jnp.mean(jnp.abs(problem.isotherm(jax.nn.sigmoid(x)) - batch.target), axis=-1)

    before, after = error(x), error(jax.jit(problem.invert)(x, batch))
    assert after.mean() < 0.995 * before.mean()
    # A step is at most 1 in x, so a distant matrix improves little; none gets worse by more than
    # the error of the linearisation.
    assert (after < before + 0.05).all()
    if problem.inverse_iterations > 1:  # the best iterate is returned, and the first counts
        assert (after <= before + 1e-6).all()


def test_hysteresis_has_two_branches():
    problem = LDFTHysteresis(**SMALL)
    matrices = jax.vmap(lambda k: random_matrix(k, (6, 6)))(keys(5))
    y = np.asarray(jax.jit(problem.isotherm)(matrices))
    assert y.shape == (5, 20)
    down = np.concatenate([y[:, 9:10], y[:, 10:19]], axis=1)[:, ::-1]
    # 3e-5 is the tolerance on the density; near a fold the uptake is off by somewhat more.
    assert (down >= y[:, :10] - 1e-3).all()
    np.testing.assert_array_equal(y[:, -1], 0)
    assert LDFTHysteresis(dimensions=3, size=4).shape == (4, 4, 4)


@pytest.mark.parametrize("network", ["convolutional", "paper"])
@pytest.mark.parametrize("cls", [LDFT2D, LDFT3D])
def test_other_generators_make_matrices_that_are_not_uniform(cls, network):
    problem = cls(size=4, points=10, channels=4, normalization="batch")
    objective, params = build(problem, network, 0)
    assert objective.has_batch_statistics()
    x = objective.predict(params, 2 * jnp.linspace(0, 1, 30).reshape(3, 10) - 1)
    assert x.shape == (3, *problem.shape)
    assert (jnp.std(x.reshape(3, -1), axis=1) > 1e-3).all()


def test_baselines_improve_with_the_bank():
    problem = LDFT2D(**SMALL, refine=10)
    batch = jax.jit(problem.held_out)(keys(8))
    found = problem.baselines(batch)
    actual = {k: v["area_percent"] for k, v in found.items()}
    order = [actual[f"nearest_of_{k}"] for k in (1000, 100, 10)]
    assert order == sorted(order)
    assert actual["fixed_matrix"] > actual["nearest_of_1000"]
    refined = {k: v["area_percent_refined"] for k, v in found.items() if len(v) > 1}
    assert list(refined) == ["nearest_of_1000"], "no other is refined"
    assert refined["nearest_of_1000"] <= actual["nearest_of_1000"] + 1e-3


@pytest.mark.parametrize(
    ("text", "points", "desorption", "expected"),
    [
        ("0,0\n1,1\n", 4, False, [0.25, 0.5, 0.75, 1]),
        ("RH;water\n0;0\n50;20\n100;40\n", 2, False, [0.5, 1]),
        ("# measured\n0.5 0.2\n1.0 0.8\n", 4, False, [0.1, 0.2, 0.5, 0.8]),
        ("0,0\n1,1\n0.5,0.9\n0,0\n", 2, True, [0.5, 1, 0.9, 0]),
    ],
)
def test_a_user_s_isotherm_is_read(tmp_path, text, points, desorption, expected):
    (tmp_path / "curve.csv").write_text(text)
    actual = read_isotherm(tmp_path / "curve.csv", points, desorption)
    np.testing.assert_allclose(actual, expected)


@pytest.mark.parametrize(
    ("text", "desorption", "reason"),
    [
        ("0,0,0\n1,1,1\n", False, "two columns"),
        ("0,a\n1,b\n", False, "two columns"),
        ("0,0\n1,-1\n", False, "must not be < 0"),
        ("0,0\n1,1\n0.5,0.5\n", False, "hysteresis"),
        ("0,0\n1,1\n", True, "falling"),
        ("0,0\n0.5,0.1\n0.5,0.2\n1,1\n", False, "one direction"),
    ],
)
def test_a_table_that_is_not_an_isotherm_is_rejected(tmp_path, text, desorption, reason):
    (tmp_path / "curve.csv").write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_isotherm(tmp_path / "curve.csv", 10, desorption)


def test_a_trained_generator_designs_for_a_user_s_curve(tmp_path, capsys):
    from physopt.cli import main

    problem = LDFT2D(**SMALL, refine=6)
    run = physopt.run(
        problem, "adam", steps=4, log_every=2, heldout_size=4, batch_size=4, out=tmp_path
    )
    assert {"area_percent", "area_percent_procedural"} <= set(run.curve.columns)
    assert not any("refined" in column for column in run.curve.columns)
    samples = read_samples(run.folder)
    for part in ("", "_procedural"):
        refined, alone = (samples[f"area_percent{kind}{part}"] for kind in ("_refined", ""))
        assert (refined <= alone + 1e-3).all()
        assert refined.mean() < alone.mean()
    assert (run.folder / "figure.png").stat().st_size > 10_000
    assert "nearest_of_100" in (run.folder / "baselines.json").read_text()
    (tmp_path / "mine.csv").write_text("0,0\n1,1\n")
    assert main(["design", str(run.folder), str(tmp_path / "mine.csv")]) == 0
    printed = capsys.readouterr().out
    assert "area_percent_refined" in printed
    assert "read  file: table, commas between columns, decimal points, UTF-8\n" in printed
    assert "read  branches: adsorption 2 points, no desorption\n" in printed
    errors = json.loads((tmp_path / "mine_design.json").read_text())
    solve = jax.jit(lambda eta: isotherm(eta, dimensions=2, spacing=0.1))
    for name, metric in (("design", "area_percent_refined"), ("network", "area_percent")):
        matrix = np.load(tmp_path / f"mine_{name}.npy")
        assert matrix.shape == (6, 6)
        assert set(np.unique(matrix)) <= {0, 1}
        y = np.asarray(solve(jnp.asarray(matrix[None])))[0]
        area = 100 * np.mean(np.abs(y - np.linspace(0.1, 1, 10)))
        np.testing.assert_allclose(area, errors[metric], atol=1e-3)
    assert errors["area_percent_refined"] < errors["area_percent"]
    assert errors["target"]["humidity"].endswith("0 to 1")
    batch = problem.read_target(tmp_path / "mine.csv")
    figure = problem.figure(jnp.ones((1, 6, 6)), batch.target, batch)
    drawn = {line.get_label(): np.asarray(line.get_xydata()) for line in figure.axes[-1].lines}
    np.testing.assert_allclose(drawn["measured"], [[0, 0], [100, 1]])
    assert (tmp_path / "mine_design.png").exists()
    assert main(["design", str(run.folder), str(tmp_path / "none.csv")]) == 2
    (tmp_path / "bad.csv").write_text("RH (%),uptake (g/g)\n10,0.1\n50,x\n90,0.2\n")
    capsys.readouterr()
    assert main(["design", str(run.folder), str(tmp_path / "bad.csv")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "bad.csv: row 3, column 2 (uptake (g/g)): 'x' is no number" in line


@pytest.mark.parametrize(
    ("options", "name"),
    [({"size": 1}, "size"), ({"points": 1}, "points"), ({"hidden": 8}, "hidden")],
)
def test_impossible_options_are_rejected(options, name):
    with pytest.raises(OptionError) as caught:
        LDFT3D(**options)
    assert caught.value.key == f"problem.{name}"


def test_a_line_search_may_be_vmapped_over_samples():
    """Under a vmapped loop with a branch JAX batches every operand, constants included."""

    def descend(x):
        def value(x):
            return jnp.sum(isotherm(jax.nn.sigmoid(x)[None], dimensions=2, spacing=0.25)[0])

        def body(x):
            return jax.lax.cond(value(x) > 1, lambda x: x - jax.grad(value)(x), lambda x: x, x)

        return jax.lax.while_loop(lambda x: value(x) > 0.5, body, x)

    # The failure was in tracing; no compilation is needed.
    shape = jax.eval_shape(jax.vmap(descend), jax.ShapeDtypeStruct((3, 4, 4), jnp.float32))
    assert shape.shape == (3, 4, 4)
