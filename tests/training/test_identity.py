"""Identity: a run_id depends on everything that can change a run's numbers, and on nothing else."""

import functools
import os
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny import Descent, Tiny
from training.identity_cases import one_byte_changed, reworded, run_id

import physopt
from physopt.config.registry import find, names
from physopt.config.run_config import make_config
from physopt.numerics.keys import key_of
from physopt.options import OptionError
from physopt.training import identity, session
from physopt.training.data import training_source
from physopt.training.source import SHOWS_ONLY, core, modules, source_of

CORE = session.__name__
PACKAGE = Path(physopt.__file__).parent
PAIRS = [(p, "adam") for p in names("problem")] + [("toy", rule) for rule in names("rule")]


@functools.cache
def counted():
    """Return {module: (problem, rule) of a run in whose identity it is}."""
    pairs = {}
    for problem, rule in PAIRS:
        config = make_config(find("problem", problem)(), find("rule", rule)(), {})
        for module in identity.source_of_run(config).modules:
            pairs.setdefault(module.name, (problem, rule))
    return pairs


def modules_of_physopt():
    """Yield the dotted names of all files of the package."""
    for folder, below, files in os.walk(PACKAGE, followlinks=True):
        below[:] = [name for name in below if name not in ("notebooks", "example_results")]
        for file in (file for file in files if file.endswith(".py")):
            path = Path(folder, file).relative_to(PACKAGE.parent).with_suffix("")
            yield ".".join(path.parts).removesuffix(".__init__")


def shows_only(name):
    return any(fnmatchcase(name, pattern) for pattern in SHOWS_ONLY)


def test_every_module_is_in_the_identity_or_listed_as_display_only():
    everything = set(modules_of_physopt())
    assert len(everything) > 60
    shown = {name for name in everything if shows_only(name)}
    assert set(counted()) | shown == everything
    assert not set(counted()) & shown


def test_the_display_only_list_names_existing_modules():
    everything = list(modules_of_physopt())
    for pattern in SHOWS_ONLY:
        assert any(fnmatchcase(name, pattern) for name in everything), pattern


@pytest.fixture
def edit(monkeypatch, tmp_path):
    """Return a function that replaces the source of a module."""

    def put(name, text):
        path = tmp_path / Path(str(sys.modules[name].__file__)).name
        path.write_text(text)
        os.utime(path, ns=(0, 0))
        monkeypatch.setattr(sys.modules[name], "__file__", str(path))
        for cache in ("_MODULES", "_CLOSURES"):
            monkeypatch.setattr(modules, cache, {})

    return put


@pytest.mark.parametrize("name", sorted(counted()))
def test_one_byte_of_code_changes_the_id_and_comments_do_not(name, edit):
    problem, rule = (
        find(k, n)() for k, n in zip(("problem", "rule"), counted()[name], strict=True)
    )
    first = run_id(problem, rule)
    text = Path(str(sys.modules[name].__file__)).read_text()
    edit(name, reworded(text))
    assert run_id(problem, rule) == first
    edit(name, one_byte_changed(text))
    assert run_id(problem, rule) != first


def test_the_default_loss_and_the_initial_parameters_are_in_the_identity():
    ours = {module.name for module in core().modules}
    assert ours >= {CORE, "physopt.problem", "physopt.training.setup", "physopt.numerics.linalg"}


def test_plot_colours_and_comments_are_not_in_the_identity(edit):
    from physopt.problems.ldft import picture

    problem = find("problem", "ldft2d")()
    first = run_id(problem)
    edit(picture.__name__, Path(picture.__file__).read_text().replace("#4a4a4a", "#4b4b4b"))
    assert run_id(problem) == first
    linalg = "physopt.numerics.linalg"
    text = Path(str(sys.modules[linalg].__file__)).read_text()
    edit(linalg, "# A comment.\n" + text)
    assert run_id(problem) == first
    edit(linalg, text + "\nx = 1\n")
    assert run_id(problem) != first


def test_the_source_of_a_problem_excludes_rules_and_other_problems():
    ldft = {module.name for module in source_of(find("problem", "ldft2d")).modules}
    assert not any(name.startswith("physopt.optimizers") for name in ldft)
    heat = {module.name for module in source_of(find("problem", "heat")).modules}
    assert not any("ldft" in name for name in heat)
    assert "physopt.problems.fields" in heat


def test_a_second_id_reuses_the_sources():
    roots, homes = (CORE,), frozenset()
    assert modules.closure(roots, homes) is modules.closure(roots, homes)


def test_the_run_id_depends_only_on_what_determines_the_numbers():
    same = [run_id(Tiny()), *(run_id(Tiny(), **given) for given in (
        {"out": "elsewhere"}, {"force": True}, {"debug": True}, {"profile": True}))]  # fmt: skip
    assert len(set(same)) == 1
    others = [
        run_id(Tiny(), seed=1),
        run_id(Tiny(size=4)),
        run_id(Tiny(), Descent(learning_rate=0.2)),
        run_id(Tiny(), dtype="float64"),
        run_id(Tiny(), devices=2),
        identity.run_id(make_config(Tiny(), Descent(), {}), "gpu"),
    ]
    assert len({same[0], *others}) == 7


def test_jax_settings_that_change_numbers_are_in_the_identity():
    first = run_id(Tiny())
    for setting in (
        jax.default_matmul_precision("highest"),
        jax.threefry_partitionable(False),
        jax.default_prng_impl("rbg"),
        jax.numpy_dtype_promotion("strict"),
    ):
        with setting:
            assert run_id(Tiny()) != first
    with jax.enable_x64(True):  # each run sets it by its dtype
        assert run_id(Tiny()) == first
    assert run_id(Tiny()) == first


def test_random_streams_do_not_depend_on_the_default_implementation_of_jax():
    def drawn():
        return training_source(Tiny(), 3, 4, None).draw(jax.numpy.int32(1)).inputs

    first = drawn()
    with jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(drawn(), first)
        assert str(jax.random.key_impl(key_of(0))) == "threefry2x32"


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64])
def test_seeds_of_more_than_32_bits_are_refused(seed):
    with pytest.raises(OptionError, match=r"seed=.*must be at (least 0|most 4294967295)"):
        make_config(Tiny(), Descent(), {"seed": seed})


def test_every_seed_has_its_own_stream():
    seeds = (0, 1, 2**31, 2**32 - 1)
    assert len({tuple(jax.random.key_data(key_of(seed)).tolist()) for seed in seeds}) == 4
    make_config(Tiny(), Descent(), {"seed": 2**32 - 1})
