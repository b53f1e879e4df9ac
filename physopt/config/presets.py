"""Presets: options of a rule on one problem, where its own defaults diverge or converge slowly.

The only place that knows a problem and a rule by name together. The user's options take precedence
over this table, and the table over a rule's defaults.
"""

from typing import Any

from physopt.config.registry import find, name_of
from physopt.options import annotations

# A Gauss-Newton-like step on near-binary matrices saturates the generator: smooth damping, a bound
# on the step and momentum keep it in the range of the linear model.
_LDFT = {
    "hig": {
        "learning_rate": 0.2,
        "damping": 0.2,
        "momentum": 0.9,
        "max_step_norm": 0.1,
        "schedule": "cosine",
    },
    "gauss_newton": {"learning_rate": 0.6},
    # An inverse step costs a Jacobian; further network updates towards its result are cheap.
    "sip": {"repeat": 4},
}

# 64 x 64 outputs a sample: a Gram matrix does not fit into memory, and each Krylov step costs two
# sweeps of the network. beta = -1/2 makes a half-inverse step independent of the unit of y: at a
# learning rate of 1 it equals Gauss-Newton's full step in the direction of the largest singular
# value; 1/4 of that keeps a margin.
_LARGE = {
    "hig": {"method": "krylov", "krylov_steps": 8, "beta": -0.5, "learning_rate": 0.25},
    "gauss_newton": {"method": "krylov", "krylov_steps": 8},
}

# The minimum-norm controls of two samples differ so much that a network fitted to both moves away
# from each: the loss grows from 0.4 beyond 100. Damping makes the controls similar.
_SCATTERED = {"sip": {"damping": 3.0}}

# At tau = 1e-5 the smallest singular values kept are rounding errors in float32. These values, and
# those below without a comment, were tuned in runs/study: the loss is 3 to 3000 times lower than
# with the defaults.
_QUANTUM = {
    "adam": {"learning_rate": 1e-2},
    "sgd": {"learning_rate": 0.15},
    "sip": {"learning_rate": 1e-2},
    "hig": {"learning_rate": 0.6, "tau": 1.5e-4},
    "gauss_newton": {"learning_rate": 0.3, "tau": 1.5e-4},
}
_OSCILLATORS = {
    "muon": {"learning_rate": 5e-4},
    "metropolis": {"sigma": 2e-3},
    "gauss_newton": {"learning_rate": 0.15, "tau": 1.5e-4},
}

# At losses of 10^2 to 10^7 the gradients make plain descent diverge within a few steps.
_STEEP = {"sgd": {"clip_norm": 1.0}}

# A random step of 0.01 in every weight changes the Laplacian of a 64-site potential by more than
# 100 %: the loss of other samples grows while that of the batch falls.
_ROUGH = {"metropolis": {"sigma": 1e-3}, "open_es": {"learning_rate": 1e-3}}

# Collocation points of one smooth function make J numerically rank deficient: half of its singular
# values lie below 1e-7 of the largest. A half-inverse step needs no cutoff in float64, but a line
# search: a fixed step of 1 diverges, and 0.3 does not move. L-BFGS gains from a longer memory.
_PINN = {
    "lbfgs": {"memory_size": 50},
    "gauss_newton": {"tau": 1e-7},
    "hig": {"learning_rate": 1.0, "line_search": "grid", "tau": 1e-12},
}

RULE_OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "ldft2d": _LDFT,
    "ldft3d": _LDFT,
    "ldft_hysteresis": _LDFT,
    "oscillators": _SCATTERED | _OSCILLATORS,
    "quantum": _QUANTUM,
    "poisson": _LARGE | _STEEP,
    "heat": _LARGE,
    "pressure_guess": _LARGE,
    "forced_burgers": _LARGE,
    "burgers_supervised": {"metropolis": {"sigma": 3e-3}},
    # The learning rate of the source.
    "navier_stokes": {rule: {"learning_rate": 5e-3} for rule in ("adam", "sip")},
    "poisson8": _STEEP | _ROUGH | {"muon": {"learning_rate": 2e-3}},
    "sin": _STEEP,
    "pinn_poisson": _PINN,
    "pinn_poisson_nd": _PINN,
    "pinn_heat": _PINN,
    "pinn_burgers": _PINN,
    "pinn_allen_cahn": _PINN,
    "pinn_kdv": _PINN,
    "pinn_convection": _PINN,
    "pinn_helmholtz": _PINN,
}
"""{problem: {rule: {option: value}}}"""


def suited_options(problem: type, rule: type) -> dict[str, Any]:
    """Return the options of a rule preset for a problem, {} if its defaults apply."""
    of_problem = RULE_OPTIONS.get(name_of("problem", problem), {})
    options = of_problem.get(name := name_of("rule", rule), {})
    if options and rule is not (usual := find("rule", name)):
        # Of another optimiser: what suits the usual one's learning rate does not suit this one.
        shared = annotations(rule).keys() - vars(rule).get("__annotations__", {})
        options = {k: v for k, v in options.items() if k in shared and k in annotations(usual)}
    return options
