"""The same runs on one device and on eight: `device_cases.py FOLDER CASE...` prints the curves.

A process of its own, since JAX counts the devices of the host once, at its start.
"""

import json
import sys

import jax.numpy as jnp

import physopt
from physopt.config.run_config import make_config
from physopt.machine import devices
from physopt.machine.mesh import mesh_of
from physopt.optimizers.evolution import OpenES
from physopt.optimizers.first_order import Adam
from physopt.optimizers.sip import SIP
from physopt.optimizers.spectral import GaussNewton, HalfInverse
from physopt.options import OptionError
from physopt.problems.ldft.named import LDFT2D
from physopt.problems.oscillators import Oscillators
from physopt.training.data import training_source
from physopt.training.loop import compile_program
from physopt.training.setup import prepare
from tests.benchmarks.bench_devices import collectives as collectives_of
from tests.tiny import Tiny

COUNT = 8
SWING = Oscillators(**Oscillators.tiny)
LATTICE = LDFT2D(**LDFT2D.tiny, targets="procedural", optimised_fraction=0)
SETTINGS = {
    "steps": 4, "log_every": 2, "batch_size": 8, "heldout_size": 12, "dtype": "float64",
    "figures": False,
}  # fmt: skip

CASES = {
    "adam": (SWING, Adam(), {}),
    "sip": (SWING, SIP(), {}),
    "hig": (SWING, HalfInverse(tau=1e-3), {}),
    "gauss_newton": (SWING, GaussNewton(), {}),
    "evolution": (SWING, OpenES(), {}),
    "no_network": (SWING, GaussNewton(), {"network": "none"}),
    "batch_normalisation": (Tiny(normalization="batch"), Adam(), {"train_size": 20}),
    "pooled_physics": (LATTICE, Adam(learning_rate=0.1), {}),
}
COLLECTIVES = "collectives"
COLUMNS = ("train_loss", "validation_loss", "test_loss", "grad_norm", "update_norm")


def curve(run):
    """Return the columns of a run's curve, and its number of devices."""
    rows = run.curve
    trained = rows[rows.step > 0]
    return {
        "device_count": int(rows.device_count.iloc[-1]),
        "step": rows.step.tolist(),
        "initial_loss": rows.validation_loss.iloc[0],
        **{name: trained[name].tolist() for name in COLUMNS if trained[name].notna().all()},
    }


def both(folder, problem, rule, changes):
    """Run on one device and on eight."""
    settings = {**SETTINGS, **changes, "out": folder}
    return [curve(physopt.run(problem, rule, devices=n, **settings)) for n in (1, COUNT)]


def interrupted(folder):
    """Resume a run on eight devices from its checkpoint."""
    settings = {**SETTINGS, "out": folder, "seed": 1, "devices": COUNT}
    whole = curve(physopt.run(SWING, Adam(), **settings))
    half = physopt.run(SWING, Adam(), **{**settings, "steps": 2})
    return [whole, curve(physopt.resume(half.folder, steps=4))]


def collectives(problem, rule):
    """Return the collective operations of a compiled training program."""
    config = make_config(problem, rule, {**SETTINGS, "devices": COUNT})
    selected = devices.select("cpu", COUNT)
    with devices.computing(selected[0], "float64"):
        setup = prepare(config, mesh_of(selected, COUNT))
        carry = setup.initial_carry()
        program = compile_program(setup.rule, setup.objective, carry, setup.source, setup.key)
    return sorted(collectives_of(program.compiled.as_text() or ""))


def refusals(folder):
    """Return the refusals of a batch that cannot be divided, and of missing devices."""
    reasons = []
    for changes in ({"batch_size": 9, "devices": COUNT}, {"batch_size": 9, "devices": 9}):
        try:
            physopt.run(SWING, Adam(), **{**SETTINGS, **changes, "out": folder})
        except OptionError as error:
            reasons.append(f"{error.key}: {error.reason}")
    return reasons


def drawn():
    """Return whether one device and eight draw the same batch, bit for bit."""
    mesh = mesh_of(devices.select("cpu", COUNT), COUNT)
    step = jnp.int32(3)
    one, many = (training_source(SWING, 0, COUNT, None, m).draw(step) for m in (None, mesh))
    return bool((one.inputs == many.inputs).all())


if __name__ == "__main__":
    place, *names = sys.argv[1:]
    answers = {
        "cases": list(CASES),
        "curves": {name: both(place, *CASES[name]) for name in names if name in CASES},
        "interrupted": interrupted(place),
        "refusals": refusals(place),
        "drawn": drawn(),
    }
    if COLLECTIVES in names:
        answers["collectives"] = collectives(*CASES["pooled_physics"][:2])
    print(json.dumps(answers))
