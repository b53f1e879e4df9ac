"""Pairs: options that suit a rule on one problem, where its own would diverge or crawl.

The one place that knows a problem and a rule by name together. What a user gives prevails over this
table, and the table over a rule's defaults.
"""

from typing import Any

from physopt.config.registry import name_of

# A Gauss-Newton-like step on near-binary matrices saturates the generator: smooth damping, a bound
# on the step and momentum keep it in the range of the linear model.
_LDFT = {
    "hig": {"damping": 0.2, "momentum": 0.9, "max_step_norm": 0.1, "schedule": "cosine"},
    "gauss_newton": {"learning_rate": 5.0},
    # An inverse step costs a Jacobian: more of the network's small steps towards it are cheap.
    "sip": {"repeat": 4},
}

# 64 x 64 outputs a sample: no Gram matrix fits, and each Krylov step costs two network sweeps.
# beta = -1/2 takes the unit of y out of a half-inverse step: at learning_rate = batch size it is
# Gauss-Newton's in the direction of the largest singular value, and 1/4 of that keeps a margin.
_LARGE = {
    "hig": {"method": "krylov", "krylov_steps": 8, "beta": -0.5, "learning_rate": 4.0},
    "gauss_newton": {"method": "krylov", "krylov_steps": 8},
}

# The shortest controls of two samples differ so much that a network which learns both gets further
# from either: the loss of 0.4 grows to 100 and beyond. Damping makes them alike.
_SCATTERED = {"sip": {"damping": 3.0}}

# g carries 1/batch, so that a step of 1 is 1/16 of a full one there; and at tau 1e-5 the smallest
# singular values kept are rounding in float32. Found by the study in runs/study, as are the others
# that have no other reason: 3 to 3000 times less loss than with the rules' own options.
_FULL_STEP = {"learning_rate": 5.0, "tau": 1.5e-4}
_QUANTUM = {
    "adam": {"learning_rate": 1e-2},
    "sgd": {"learning_rate": 0.15},
    "sip": {"learning_rate": 1e-2},
    "hig": _FULL_STEP,
    "gauss_newton": _FULL_STEP,
}
_OSCILLATORS = {
    "muon": {"learning_rate": 5e-4},
    "metropolis": {"sigma": 2e-3},
    "gauss_newton": _FULL_STEP,
}

# Losses of 10^2 to 10^7, whose gradients make plain descent diverge in its first steps.
_STEEP = {"sgd": {"clip_norm": 1.0}}

# A random step of 0.01 in every weight changes the Laplacian of a 64-site potential by more than it
# is: the loss of other samples climbs while that of the batch falls.
_ROUGH = {"metropolis": {"sigma": 1e-3}, "open_es": {"learning_rate": 1e-3}}

RULE_OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "ldft2d": _LDFT,
    "ldft3d": _LDFT,
    "ldft_hysteresis": _LDFT,
    "oscillators": _SCATTERED | _OSCILLATORS,
    "quantum": _QUANTUM,
    "poisson": _LARGE | _STEEP,
    "heat": _LARGE,
    "burgers_supervised": {"metropolis": {"sigma": 3e-3}},
    "poisson8": _STEEP | _ROUGH | {"muon": {"learning_rate": 2e-3}},
    "sin": _STEEP,
}
"""{problem: {rule: {option: value}}}"""


def suited_options(problem: type, rule: type) -> dict[str, Any]:
    """Return the options of a rule that suit a problem, {} where its defaults do."""
    of_problem = RULE_OPTIONS.get(name_of("problem", problem), {})
    return of_problem.get(name_of("rule", rule), {})
