"""A run on several devices gives the numbers of one device: eight virtual devices of the host."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CASES = (
    "adam", "hig", "evolution", "sip", "gauss_newton", "no_network", "batch_normalisation",
    "pooled_physics",
)  # fmt: skip

# Devices add the same numbers in another order: errors of 1e-16, which grow by a few digits. The
# power -1/2 of HIG magnifies them by 1 / tau^2 = 1e6 at the smallest singular values kept. The
# lattice solver iterates each matrix until its density has an error of 1e-10; the number of further
# sweeps depends on the pool, and near condensation the uptake may differ by 100 times as much.
TOLERANCE = {"hig": 1e-8, "pooled_physics": 1e-8}
ROUNDING = 1e-11


@pytest.fixture(scope="module")
def answers(request, tmp_path_factory):
    """Run the cases whose tests are selected, in one process."""
    tests = [item for item in request.session.items if item.path == Path(__file__)]
    selected = [t.callspec.params["case"] for t in tests if hasattr(t, "callspec")]
    if any(t.name == test_each_device_solves_its_own_lattices.__name__ for t in tests):
        selected.append("collectives")
    flags = os.environ.get("XLA_FLAGS", "")
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }
    script, folder = ROOT / "tests" / "device_cases.py", tmp_path_factory.mktemp("runs")
    done = subprocess.run(
        [sys.executable, script, folder, *selected],
        env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_eight_devices_give_the_curve_of_one(answers, case):
    one, eight = answers["curves"][case]
    assert (one.pop("device_count"), eight.pop("device_count")) == (1, 8)
    assert one["step"] == eight["step"] == [0, 2, 4]
    assert one["validation_loss"][-1] != one["initial_loss"]  # training had an effect
    for name in one:
        assert eight[name] == pytest.approx(one[name], rel=TOLERANCE.get(case, ROUNDING), abs=1e-14)


def test_every_case_is_compared(answers):
    assert set(CASES) == set(answers["cases"])


def test_a_run_on_eight_devices_resumes_from_its_checkpoint(answers):
    whole, resumed = answers["interrupted"]
    assert resumed == whole


def test_batches_are_bit_identical(answers):
    assert answers["drawn"]


def test_each_device_solves_its_own_lattices(answers):
    """The solver selects the worst lanes of a batch in every round, and would gather the densities
    of all devices if the batch were not divided explicitly. Only the sum of gradients remains.
    """
    assert answers["collectives"] == ["all-reduce"]


def test_batches_that_cannot_be_divided_are_refused(answers):
    batch, count = answers["refusals"]
    assert batch == "batch_size: 8 devices need equal parts of it; 8 or 16 would do"
    assert count.startswith("devices: JAX finds 8 cpu here; XLA_FLAGS=")
