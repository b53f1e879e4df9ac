"""The studies of the simulator and of designs: known answers, shapes, figures, the script."""

import importlib.util
import itertools
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from physopt.machine.resident import resident_peak
from physopt.problems.ldft.named import LDFT2D

STUDIES = Path(__file__).resolve().parent.parent.parent / "runs" / "ldft"
sys.path.insert(0, str(STUDIES))

import figures  # noqa: E402
from cost import memory  # noqa: E402
from matrices import near_binary, procedural_isotherms  # noqa: E402
from pores import pore_size_map, pore_sizes  # noqa: E402
from repetition import translation  # noqa: E402
from unrolled import accuracy, gradient_error  # noqa: E402

HUMIDITIES = np.arange(1, 41) / 40
ATTRACTION = 4 * 647 / 298  # c w_ff / kT, in either dimension


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("ldft_studies", STUDIES / "__main__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # tyro resolves option types there
    spec.loader.exec_module(module)
    return module


def single_pore(size=4, dimensions=2):
    """One matrix with a single pore site."""
    pores = np.zeros((1, *(size,) * dimensions))
    pores[(0, *(1,) * dimensions)] = 1
    return pores


# --- pore sizes


def naive_size_map(pores):
    """Pore sizes from the definition, square by square."""
    sizes = np.zeros(pores.shape, int)
    for side in range(1, len(pores) + 1):
        for corner in itertools.product(*(range(n) for n in pores.shape)):
            square = np.ix_(*((c + np.arange(side)) % len(pores) for c in corner))
            if pores[square].all():
                sizes[square] = side
    return sizes


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5])
def test_the_pores_of_a_slit_are_as_wide_as_the_slit(dimensions, width):
    pores = np.zeros((1, *(6,) * dimensions))
    pores[0, :width] = 1
    pores = np.roll(pores, 4, axis=1)  # across the periodic border, for the wider ones
    frame = pore_sizes(pores)
    assert frame[frame.share > 0].pore_size.tolist() == [width]
    assert frame.share.sum() == 1
    np.testing.assert_allclose(frame.porosity, width / 6)


def test_the_pores_of_a_single_site_of_a_full_and_of_an_empty_lattice():
    pores = np.concatenate([single_pore(5), np.ones((1, 5, 5)), np.zeros((1, 5, 5))])
    frame = pore_sizes(pores)
    assert frame.shape == (15, 6)
    assert list(frame.columns) == [
        *("dimensions", "size", "matrix", "porosity", "pore_size", "share"),
    ]
    shares = frame.pivot(index="matrix", columns="pore_size", values="share").to_numpy()
    np.testing.assert_array_equal(shares, [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0] * 5])


@pytest.mark.parametrize(("dimensions", "size"), [(2, 7), (2, 6), (3, 4)])
def test_pore_sizes_are_those_of_the_definition(dimensions, size):
    pores = np.random.default_rng(0).random((4, *(size,) * dimensions)) < 0.8
    expected = np.stack([naive_size_map(p) for p in pores])
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(pore_size_map(pores.astype(float)), expected)


def test_pore_sizes_reject_other_arrays():
    with pytest.raises(ValueError, match="binary"):
        pore_sizes(np.full((1, 4, 4), 0.5))
    with pytest.raises(ValueError, match="matrices are"):
        pore_sizes(np.ones((4, 4)))


# --- translation


@pytest.fixture(scope="module")
def translated():
    return translation(np.concatenate([single_pore(), np.ones((1, 4, 4))]))


def test_a_matrix_without_solid_translates_without_loss(translated):
    # w_ff = 2 k T_c / d: the total attraction by all neighbours is the same in 2D and 3D.
    full = translated[translated.matrix == 1]
    assert full.shape == (40, 7)
    np.testing.assert_allclose(full.humidity, HUMIDITIES)
    np.testing.assert_allclose(full.uptake_3d, full.uptake_2d, atol=1e-7)
    assert full.area_percent.max() < 1e-6


def test_a_single_pore_translates_into_a_channel(translated):
    single = translated[translated.matrix == 0]
    activity = np.log(HUMIDITIES) - 2 * 647 / 298
    alone = 1 / (1 + np.exp(-(activity + 1.5 * ATTRACTION)))
    channel = np.zeros(40)  # four solid neighbours of six, and two pores
    for _ in range(10_000):
        field = activity + 1.5 * ATTRACTION * 4 / 6 + ATTRACTION * 2 / 6 * channel
        channel = 1 / (1 + np.exp(-field))
    np.testing.assert_allclose(single.uptake_2d, alone, atol=1e-12)
    np.testing.assert_allclose(single.uptake_3d, channel, atol=1e-7)
    loss = 100 * np.mean(np.abs(alone - channel))
    assert loss > 0.1
    np.testing.assert_allclose(single.area_percent, loss, atol=1e-5)


def test_translation_rejects_cubic_matrices():
    with pytest.raises(ValueError, match="not"):
        translation(np.ones((1, 4, 4, 4)))


# --- the unrolled simulator

# Two matrices on a lattice of side 4 everywhere, so that tests share compiled programs.
SWEEPS = (1, 30, 3000)


@pytest.fixture(scope="module")
def accuracies():
    return {d: accuracy(slow_matrices(d), SWEEPS) for d in (2, 3)}


def slow_matrices(dimensions):
    """A slit three sites wide, and one with a hole in its wall: both fill by condensation."""
    pores = np.ones((2, *(4,) * dimensions))
    pores[:, 0] = 0
    pores[(1, *(0,) * dimensions)] = 1
    return pores


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_unrolled_isotherm_approaches_the_converged_one(accuracies, dimensions):
    frame = accuracies[dimensions]
    assert frame.shape == (3, 8)
    assert (frame["dimensions"] == dimensions).all()
    assert (frame["size"] == 4).all()
    assert (frame.matrices == 2).all()
    assert tuple(frame.sweeps) == SWEEPS
    for column in ("mean_area_percent", "quantile95_area_percent"):
        assert (np.diff(frame[column]) < 0).all()
    assert frame.share_uptake_off[0] == 1
    assert frame.share_uptake_off[2] == 0
    assert frame.mean_area_percent[2] < 1e-5


def test_one_sweep_is_exact_for_a_single_pore():
    frame = accuracy(np.repeat(single_pore(), 2, axis=0), (1,))
    assert frame.quantile95_area_percent.item() < 1e-10


@pytest.fixture(scope="module")
def gradient_errors():
    """Errors for a nearly binary matrix and for one without pores, which has no gradient."""
    near = near_binary(slow_matrices(2)[1:], 0.05, 0)
    matrices = np.concatenate([near, np.zeros((1, 4, 4))])
    return gradient_error(matrices, procedural_isotherms(1, 2), (1, 3000))


def test_the_unrolled_gradient_approaches_the_implicit_one(gradient_errors):
    frame = gradient_errors
    assert frame.shape == (2, 15)
    assert frame.error_50[0] > 0.01
    assert frame.cosine_05[0] < 0.9999
    assert frame.error_95[1] < 1e-6
    assert frame.cosine_05[1] > 1 - 1e-9
    assert frame.share_cosine_below_09[1] == 0


def test_matrices_without_a_gradient_are_excluded(gradient_errors):
    assert (gradient_errors.matrices == 1).all()
    assert np.isfinite(gradient_errors.to_numpy(float)).all()
    empty, wanted = np.zeros((2, 4, 4)), procedural_isotherms(0, 2)
    with pytest.raises(ValueError, match="no matrix"):
        gradient_error(empty, wanted, (1,))
    with pytest.raises(ValueError, match="wanted"):
        gradient_error(empty, wanted[:1], (1,))


def test_values_outside_0_and_1_are_rejected():
    for wrong in (1.5, np.nan):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            accuracy(np.full((2, 4, 4), wrong))


# --- memory


@pytest.fixture(scope="module")
def memories():
    """Memory of the unrolled modes with 50 and 200 sweeps, limited to 300 kB."""
    options = {"dimensions": 2, "gradients": ("unrolled", "remat"), "points": 10, "repeats": 1}
    frames = (memory((4,), (2,), sweeps=m, limit_bytes=3e5, **options) for m in (50, 200))
    return pd.concat(frames, ignore_index=True)


def test_memory_of_unrolled_sweeps_grows_with_their_number(memories):
    assert memories.shape == (4, 9)
    size = memories.set_index(["gradient", "sweeps"]).bytes_per_site
    assert 3.7 < size["unrolled", 200] / size["unrolled", 50] < 4.1
    # A sweep stores two float32 per site for reverse mode, remat for one humidity at a time.
    assert 8 * 200 * 10 <= size["unrolled", 200] < 1.2 * 8 * 200 * 10
    assert size["remat", 200] < size["unrolled", 200] / 5
    np.testing.assert_allclose(memories.predicted_bytes, memories.bytes_per_site * 2 * 4**2)


def test_cells_beyond_the_memory_limit_are_not_run(memories):
    assert list(memories.seconds.notna()) == list(memories.predicted_bytes < 3e5)
    assert memories.seconds.notna().sum() == 3
    assert memories.seconds.min() > 0


def test_resident_memory_is_that_of_what_is_allocated():
    size = 2**26  # pages become resident only when written
    peak = resident_peak(lambda: np.ones(size // 8).sum())
    if np.isnan(peak):
        pytest.skip("this system keeps no mark of resident memory")
    # Linux counts pages in batches of 64 per thread.
    assert 0.95 * size <= peak < 1.1 * size


# --- matrices


def test_near_binary_matrices_stay_on_their_side():
    binary = slow_matrices(2)
    near = near_binary(binary, 0.1, 0)
    assert 0 < np.abs(near - binary).max() <= 0.1
    assert 0 <= near.min() < near.max() <= 1
    np.testing.assert_array_equal(np.round(near), binary)


# --- figures and script


def drawings(accuracies, gradient_errors, translated, memories):
    """Figures of all studies, with one or two lattices, with and without missing values."""
    sizes = [pore_sizes(slow_matrices(d)) for d in (2, 3)]
    yield figures.draw_accuracy(pd.concat(accuracies.values(), ignore_index=True))
    yield figures.draw_accuracy(accuracies[3].assign(quantile95_area_percent=1e-9))
    yield figures.draw_pores(pd.concat(sizes, ignore_index=True))
    yield figures.draw_pores(pore_sizes(np.zeros((1, 2, 2))))
    yield figures.draw_gradient_error(gradient_errors)
    yield figures.draw_translation(translated)
    yield figures.draw_translation(translated[translated.matrix == 1])
    yield figures.draw_memory(memories, limit_bytes=3e5)
    yield figures.draw_memory(memories.assign(seconds=np.nan))


def test_the_figures_draw(tmp_path, accuracies, gradient_errors, translated, memories):
    for figure in drawings(accuracies, gradient_errors, translated, memories):
        assert isinstance(figure, Figure)
        assert all(axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes)
        drawn = [line for axis in figure.axes for line in (*axis.lines, *axis.patches)]
        assert drawn
        figure.savefig(tmp_path / "figure.png", dpi=30)


def test_the_script_studies_the_designs_of_a_run(tmp_path, capsys, monkeypatch, script):
    # The network of this run designs one row of pores for every isotherm.
    x = -np.ones((2, 4, 4))
    x[:, 0] = 1
    problem = LDFT2D(size=4)
    stub_problem = SimpleNamespace(
        held_out=lambda keys: SimpleNamespace(inputs=np.zeros((len(keys), 40))),
        design=problem.design,
    )
    config = SimpleNamespace(problem=stub_problem)
    run = SimpleNamespace(config=config, predict=lambda inputs: x[: len(inputs)])
    monkeypatch.setattr(script, "load", {Path("folder"): run}.__getitem__)
    words = [f"out={tmp_path / 'studies'}", "run=folder", "count=2"]
    assert script.main(["pores", *words]) == 0
    frame = pd.read_csv(tmp_path / "studies" / "pores.csv")
    assert frame.matrix[frame.share > 0].tolist() == [0, 1]
    assert frame.pore_size[frame.share > 0].tolist() == [1, 1]
    assert (tmp_path / "studies" / "pores.png").stat().st_size > 1000
    assert "1.0 sites wide in 2D, at a porosity of 25 %" in capsys.readouterr().out


def test_the_script_names_unknown_words(capsys, script, tmp_path):
    assert script.main(["speed"]) == 2
    assert "study=speed" in capsys.readouterr().err
    assert script.main(["pores", "cuont=3"]) == 2
    assert "count" in capsys.readouterr().err
    assert script.main(["help"]) == 0
    assert "sweeps" in capsys.readouterr().out
