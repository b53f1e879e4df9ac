"""The studies of the simulator and of designs: known answers, shapes, figures, the script."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import physopt
from physopt.optimizers.first_order import Adam
from physopt.problems.ldft import studies, study_figures
from physopt.problems.ldft.design import LDFT2D

SCRIPT = Path(__file__).resolve().parent.parent / "runs" / "ldft_studies.py"
HUMIDITIES = np.arange(1, 41) / 40
ATTRACTION = 4 * 647 / 298  # c w_ff / kT, in either dimension


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("ldft_studies", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def single_pore(size=4, dimensions=2):
    """One matrix, solid but for one site."""
    pores = np.zeros((1, *(size,) * dimensions))
    pores[(0, *(1,) * dimensions)] = 1
    return pores


# --- pore sizes


def naive_size_map(pores):
    """The definition, square by square."""
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
    frame = studies.pore_sizes(pores)
    assert frame[frame.share > 0].pore_size.tolist() == [width]
    assert frame.share.sum() == 1
    np.testing.assert_allclose(frame.porosity, width / 6)


def test_the_pores_of_a_single_site_of_a_full_and_of_an_empty_lattice():
    pores = np.concatenate([single_pore(5), np.ones((1, 5, 5)), np.zeros((1, 5, 5))])
    frame = studies.pore_sizes(pores)
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
    assert len(np.unique(expected)) > 3
    np.testing.assert_array_equal(studies.pore_size_map(pores.astype(float)), expected)


def test_pore_sizes_refuse_what_has_none():
    with pytest.raises(ValueError, match="binary"):
        studies.pore_sizes(np.full((1, 4, 4), 0.5))
    with pytest.raises(ValueError, match="matrices are"):
        studies.pore_sizes(np.ones((4, 4)))


# --- translation


def test_a_matrix_without_solid_translates_without_loss():
    # w_ff = 2 k T_c / d: the attraction by all neighbours together is the same in 2D and 3D.
    frame = studies.translation(np.ones((1, 4, 4)))
    assert frame.shape == (40, 7)
    np.testing.assert_allclose(frame.humidity, HUMIDITIES)
    np.testing.assert_allclose(frame.uptake_3d, frame.uptake_2d, atol=1e-7)
    assert frame.area_percent.max() < 1e-6


def test_a_single_pore_translates_into_a_channel():
    frame = studies.translation(single_pore())
    activity = np.log(HUMIDITIES) - 2 * 647 / 298
    alone = 1 / (1 + np.exp(-(activity + 1.5 * ATTRACTION)))
    channel = np.zeros(40)  # four solid neighbours of six, and two pores
    for _ in range(10_000):
        field = activity + 1.5 * ATTRACTION * 4 / 6 + ATTRACTION * 2 / 6 * channel
        channel = 1 / (1 + np.exp(-field))
    np.testing.assert_allclose(frame.uptake_2d, alone, atol=1e-12)
    np.testing.assert_allclose(frame.uptake_3d, channel, atol=1e-7)
    loss = 100 * np.mean(np.abs(alone - channel))
    assert loss > 1
    np.testing.assert_allclose(frame.area_percent, loss, atol=1e-5)


def test_translation_refuses_cubic_matrices():
    with pytest.raises(ValueError, match="not"):
        studies.translation(np.ones((1, 4, 4, 4)))


# --- the unrolled simulator


@pytest.mark.parametrize(("dimensions", "size"), [(2, 8), (3, 4)])
def test_the_unrolled_isotherm_approaches_the_converged_one(dimensions, size):
    matrices = studies.random_matrices(0, 6, size, dimensions)
    frame = studies.accuracy(matrices, (3, 30, 3000))
    assert frame.shape == (3, 8)
    assert (frame["dimensions"] == dimensions).all()
    assert (frame.matrices == 6).all()
    for column in ("mean_area_percent", "quantile95_area_percent", "share_uptake_off"):
        assert frame[column].is_monotonic_decreasing
    assert frame.share_uptake_off.iloc[0] > 0
    assert frame.mean_area_percent.iloc[0] > 0.1
    assert frame.mean_area_percent.iloc[2] < 1e-5


def test_one_sweep_is_exact_for_a_single_pore():
    pores = single_pore()
    assert studies.accuracy(pores, (1,)).mean_area_percent.item() < 1e-10
    assert studies.accuracy(np.float32(pores), (1,)).mean_area_percent.item() < 1e-4


def test_the_unrolled_gradient_approaches_the_implicit_one():
    matrices = studies.near_binary(studies.random_matrices(0, 4, 8, 2), 0.05, 0)
    wanted = studies.procedural_isotherms(1, 4)
    frame = studies.gradient_error(matrices, wanted, (3, 3000))
    assert frame.shape == (2, 15)
    assert frame.error_50[0] > 0.01
    assert frame.cosine_05[0] < 0.999
    assert frame.error_95[1] < 1e-6
    assert frame.cosine_05[1] > 1 - 1e-9
    assert frame.share_cosine_below_09[1] == 0


def test_matrices_without_a_gradient_are_left_out():
    full, empty = np.full((1, 4, 4), 0.9), np.zeros((1, 4, 4))
    wanted = studies.procedural_isotherms(0, 2)
    frame = studies.gradient_error(np.concatenate([full, empty]), wanted, (10,))
    assert frame.matrices.item() == 1
    assert np.isfinite(frame.to_numpy(float)).all()
    with pytest.raises(ValueError, match="no matrix"):
        studies.gradient_error(empty, wanted[:1], (10,))
    with pytest.raises(ValueError, match="wanted"):
        studies.gradient_error(empty, wanted, (10,))


# --- memory


def test_memory_of_unrolled_sweeps_grows_with_their_number():
    few, many = (
        studies.memory((6,), (2,), dimensions=2, sweeps=m, points=10, repeats=0) for m in (100, 400)
    )
    assert few.shape == (3, 8)
    ratio = (many.predicted_bytes / few.predicted_bytes).set_axis(few.gradient)
    assert 3.8 < ratio["unrolled"] < 4.1
    assert ratio["implicit"] == 1
    size = few.set_index("gradient").bytes_per_site
    # A sweep keeps two float32 a site for the way back, remat for one humidity at a time.
    assert 2 * 4 * 100 * 10 <= size["unrolled"] < 1.1 * 2 * 4 * 100 * 10
    assert size["remat"] < size["unrolled"] / 5
    assert few.seconds.isna().all()


def test_cells_beyond_the_memory_limit_are_not_run():
    options = {"dimensions": 2, "gradients": ("unrolled", "remat"), "points": 10, "repeats": 1}
    frame = studies.memory((4, 8), (2,), sweeps=20, limit_bytes=1e5, **options)
    assert list(frame.seconds.notna()) == list(frame.predicted_bytes < 1e5)
    assert frame.seconds.notna().any()
    assert frame.seconds.isna().any()


# --- matrices


def test_near_binary_matrices_stay_on_their_side():
    binary = studies.random_matrices(3, 4, 6, 2)
    near = studies.near_binary(binary, 0.1, 0)
    assert 0 < np.abs(near - binary).max() <= 0.1
    assert 0 <= near.min() < near.max() <= 1
    np.testing.assert_array_equal(np.round(near), binary)


# --- figures and script


@pytest.mark.parametrize("lattices", [1, 2])
def test_the_figures_draw(tmp_path, lattices):
    def both(study):
        sizes = ((2, 4), (3, 2))[:lattices]
        frames = [study(studies.random_matrices(0, 3, n, d)) for d, n in sizes]
        return pd.concat(frames, ignore_index=True)

    wanted = studies.procedural_isotherms(0, 3)
    figures = {
        "accuracy": study_figures.draw_accuracy(both(lambda m: studies.accuracy(m, (5, 20)))),
        "pores": study_figures.draw_pores(both(studies.pore_sizes)),
        "gradient": study_figures.draw_gradient_error(
            both(lambda m: studies.gradient_error(m, wanted, (5, 20)))
        ),
        "translation": study_figures.draw_translation(
            studies.translation(studies.random_matrices(0, lattices, 4, 2))
        ),
        "memory": study_figures.draw_memory(
            studies.memory((4,), (1, 2)[:lattices], dimensions=2, gradients=("remat",), repeats=0),
            limit_bytes=2**20,
        ),
    }
    for name, figure in figures.items():
        assert isinstance(figure, Figure)
        assert all(axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes), name
        figure.savefig(tmp_path / f"{name}.png", dpi=40)


def test_the_script_studies_the_designs_of_a_run(tmp_path, capsys, script):
    problem = LDFT2D(size=4, points=40, hidden=(8,))
    run = physopt.run(problem, Adam(), steps=2, log_every=1, heldout_size=4, out=tmp_path)
    words = [f"out={tmp_path / 'studies'}", f"run={run.folder}", "count=2"]
    assert script.main(["pores", *words]) == 0
    frame = pd.read_csv(tmp_path / "studies" / "pores.csv")
    assert set(frame.matrix) == {0, 1}
    assert set(frame["size"]) == {4}
    assert (tmp_path / "studies" / "pores.png").stat().st_size > 1000
    assert "On average the pores of designs are" in capsys.readouterr().out


def test_the_script_names_what_it_does_not_know(capsys, script, tmp_path):
    assert script.main(["speed"]) == 2
    assert "study=speed" in capsys.readouterr().err
    assert script.main(["pores", "cuont=3"]) == 2
    assert "count" in capsys.readouterr().err
    assert script.main(["help"]) == 0
    assert "sweeps" in capsys.readouterr().out
