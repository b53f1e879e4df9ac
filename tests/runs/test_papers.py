"""The published settings in runs/papers: each file is a run that the command line can start."""

from pathlib import Path
from typing import Any

import jax
import pytest
from flax import nnx

from physopt.config import from_words
from physopt.problems import PROBLEMS
from physopt.problems.pinn.points import counts
from physopt.sweeping.plan import planned_runs, read_request

PAPERS = Path(__file__).resolve().parent.parent.parent / "runs" / "papers"
FILES = sorted(PAPERS.glob("*.toml"))
SWEEPS = sorted((PAPERS / "sweeps").glob("*.toml"))


def test_every_published_experiment_has_a_file():
    names = {path.stem for path in FILES}
    hig = {"hig_oscillators", "hig_quantum", "hig_poisson", "hig_toy"}
    sip = {"sip_poisson", "sip_heat", "sip_sin", "sip_exp", "sip_navier_stokes"}
    burgers = {"direct", "cfe", "supervised", "staggered", "refined", "single_shooting"}
    ldft = {"ldft2d", "ldft3d", "ldft_hysteresis"}
    pinn = {name for name in PROBLEMS if name.startswith("pinn_")}
<<<<<<< HEAD
    loop = {"sol_pressure_guess", "sol_forced_burgers", "sol_wake"}
=======
    loop = {"sol_pressure_guess", "sol_forced_burgers"}
    assembly = {"assembly", "assembly_fit"}
>>>>>>> main
    burgers = {f"burgers_{name}" for name in burgers}
    fluid = {f"fluid_{name}" for name in ("supervised", "staggered", "shooting", "bucket")}
    assert names == hig | sip | ldft | pinn | loop | {"trap"} | assembly | burgers | fluid


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_a_run(path):
    config = from_words([str(path), "seed=3"])
    assert config.settings.seed == 3
    other = from_words([str(path), "rule=adam", "rule.learning_rate=0.5"])
    # Another rule than the file's takes none of its options.
    assert other.rule.as_dict()["learning_rate"] == 0.5
    comment = path.read_text(encoding="utf-8").partition("\n\n")[0].replace("\n# ", " ")
    assert "arXiv" in comment or "doi" in comment, "says its source"
    assert "CPU core" in comment, "says how long it takes"


@pytest.mark.parametrize(
    ("name", "runs", "values"),
    [
        # Two scans of six rules with one value in common; the options have a value of their own.
        ("sip_sin", 6 * (6 + 4 - 1), {"problem.xi": 6, "problem.phi": 4}),
        # Look-ahead, and corrections computed beforehand; three seeds.
        ("sol_wake", 3 * (6 + 1), {"problem.look_ahead": 6, "problem.states": 2}),
        ("hig_ablation", 6 + 5 + 4, {"rule.kappa": 6, "rule.tau": 6, "rule.beta": 5}),
    ],
)
def test_a_sweep_varies_what_the_source_varies(name, runs, values):
    assert [path.stem for path in SWEEPS] == ["hig_ablation", "sip_sin", "sol_wake"]
    path = PAPERS / "sweeps" / f"{name}.toml"
    planned = planned_runs(read_request([str(path)]))
    assert len(planned) == runs
    for key, count in values.items():
        part, _, option = key.partition(".")
        assert len({getattr(getattr(config, part), option) for config in planned}) == count
    comment = path.read_text(encoding="utf-8").partition("\n\n")[0]
    assert "arXiv" in comment
    assert "CPU core" in comment


def test_the_files_say_what_the_papers_do():
    """Numbers of the specification that a slip would change silently."""

    def config(name):
        return from_words([str(PAPERS / f"{name}.toml")])

    # n = batch |y|; steps relative to r = sqrt(b) dL/dy, with b^(3/4) g for g = dL/dy of a mean.
    oscillators = config("hig_oscillators")
    assert (oscillators.settings.batch_size, oscillators.settings.train_size) == (128, 4096)
    rate = oscillators.rule.as_dict()["learning_rate"]
    assert rate == pytest.approx(2.0 / 128**0.75, rel=1e-3)
    poisson = config("hig_poisson")
    summed, size = 0.02, poisson.settings.batch_size
    rate = poisson.rule.as_dict()["learning_rate"]
    assert rate == pytest.approx(summed * size / size**0.75, rel=1e-3)
    parameters = {
        "hig_oscillators": 2956,
        "hig_quantum": 9484,
        "hig_poisson": 41_408,
        "hig_toy": 30,
    }
    for name, count in parameters.items():
        problem = config(name).problem
        network = nnx.eval_shape(lambda problem=problem: problem.network(nnx.Rngs(0)))
        leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
        assert sum(leaf.size for leaf in leaves) == count
    assert config("sip_poisson").problem.as_dict()["normalization"] == "batch"
    assert config("sip_heat").problem.as_dict()["normalization"] == "batch"


@pytest.mark.parametrize(
    ("name", "channels"), [("ldft2d", 64), ("ldft3d", 8), ("ldft_hysteresis", 64)]
)
def test_the_ldft_files_have_the_sources_protocol_and_budget(name, channels):
    config = from_words([str(PAPERS / f"{name}.toml")])
    settings, problem, rule = config.settings, config.problem.as_dict(), config.rule.as_dict()
    assert settings.network == "paper"
    assert (problem["channels"], problem["normalization"]) == (channels, "batch")
    assert (problem["gradient"], problem["sweeps"]) == ("unrolled", 100)
    assert (problem["misfit"], problem["relaxation"]) == ("area", "straight_through")
    assert (rule["learning_rate"], rule["momentum"], rule["schedule"]) == (1e-2, 0.9, "plateau")
    assert (settings.batch_size, settings.steps) == (64, 100 * 1000)
    assert rule["patience"] == 10 * 1000
    own = from_words([str(PAPERS.parent / f"{name}_paper_scale.toml")])
    assert own.settings.steps is not None
    assert own.settings.steps * own.settings.batch_size == 6_400_000
    assert own.problem.as_dict()["gradient"] == "implicit"


def test_the_physics_informed_files_have_the_sources_points_and_networks():
    """Points and parameters of the sources' programs and records."""
    expected = {
        "pinn_poisson": (129, {0: 900, 1: 120}),
        "pinn_heat": (257, {0: 900, 1: 30, 2: 60}),
        "pinn_poisson_nd": (10_065, {0: 3000, 1: 500}),
        "pinn_helmholtz": (5301, {0: 64, 1: 64}),
    }
    for name, (parameters, points) in expected.items():
        config = from_words([str(PAPERS / f"{name}.toml")])
        problem: Any = config.problem
        network = nnx.eval_shape(lambda problem=problem: problem.network(nnx.Rngs(0)))
        leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
        assert sum(leaf.size for leaf in leaves) == parameters
        kinds = counts(config.settings.batch_size, problem.shares)
        assert dict(enumerate(kinds)) == points
