"""Options of the inverse-design problems."""

import dataclasses
from typing import Annotated, ClassVar, Literal

from physopt.networks import Activation, Normalization
from physopt.options import (
    Bounds,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitFloat,
)
from physopt.problem import Problem
from physopt.problems.ldft.isotherm import Gradient
from physopt.problems.ldft.losses import Misfit
from physopt.problems.ldft.relaxation import SHARPEST, Relaxation
from physopt.problems.ldft.targets import Optimiser, Texture

Inverse = Literal["relaxed", "flips"]
Targets = Literal["mixture", "simulated", "procedural"]


@dataclasses.dataclass(frozen=True)
class InverseDesignOptions(Problem):
    """Options of an inverse-design problem except the dimensions of its lattice."""

    # A Gauss-Newton-like step on near-binary matrices saturates the generator: smooth damping, a
    # bound on the step and momentum keep it in the range of the linear model. An inverse step costs
    # a Jacobian; further network updates towards its result are cheap.
    rule_defaults: ClassVar = {
        "hig": {
            "learning_rate": 0.2,
            "damping": 0.2,
            "momentum": 0.9,
            "max_step_norm": 0.1,
            "schedule": "cosine",
        },
        "sip": {"repeat": 4},
    }

    size: Annotated[int, Bounds(2)] = 20
    """Sites along each side of the lattice."""

    points: Annotated[int, Bounds(2)] = 40
    """Humidities 1/points, 2/points, ..., 1 at which isotherms are compared."""

    hidden: tuple[PositiveInt, ...] = (256,)
    """Widths of the default generator's hidden layers."""

    channels: PositiveInt = 32
    """Channels of the generators network=convolutional and network=paper."""

    activation: Activation = "gelu"
    """Activation of the default generator."""

    normalization: Normalization = "none"
    """Normalisation in the generator; batch couples samples, which some rules reject."""

    relaxation: Relaxation = "annealed"
    """Differentiable form of the matrix in training. annealed: sigmoid(k x), k rising from 1 to 8
    with the budget spent, rounded with a straight-through gradient from 60 % on; straight_through:
    always rounded; relaxed: sigmoid(x). Errors are always reported for the rounded matrix."""

    slope_sharpness: PositiveFloat = SHARPEST
    """Largest k in the derivative of relaxation=annealed. Values below 8 give a surrogate
    derivative that does not vanish at large k x; 2 suits small batches and long steps."""

    misfit: Misfit = "squared"
    """The loss of r = y - y*: squared, 1/2 sum r^2; area, mean |r|; smooth_area,
    sum sqrt(r^2 + 1e-4)."""

    continuity: NonNegativeFloat = 0.0
    """Weight of the phase-continuity penalty: the mean squared difference of neighbour sites."""

    binarisation: NonNegativeFloat = 0.0
    """Weight, at the end of the budget, of the penalty mean 4 eta (1 - eta); it rises from 0."""

    targets: Targets = "mixture"
    """Training targets: isotherms of random matrices, procedural curves, or half of each."""

    textures: tuple[Texture, ...] = ("white", "correlated", "slits", "blocks")
    """Textures of simulated matrices: random fields, thresholded at a random porosity."""

    optimised_fraction: UnitFloat = 0.2
    """Fraction of held-out matrices that are rounded results of an optimisation, which no random
    field resembles."""

    optimiser: Optimiser = "gauss_newton"
    """Optimisation of these matrices towards procedural isotherms: steps of the inverse solver, or
    a particle swarm, as published, at about a hundred times the cost."""

    refine: NonNegativeInt = 100
    """Mean number of isotherms with Jacobians by which the designs of a finished run and the
    nearest of a bank are refined: two fifths by Gauss-Newton steps that make the matrix binary
    gradually, the others by flips of single sites, which matrices that fit leave to the others; the
    worst quarter is also solved from coarse copies. 0 refines nothing. The results are reported as
    area_percent_refined, apart from those of the network."""

    inverse: Inverse = "relaxed"
    """Inverse solver of rule=sip. relaxed: Gauss-Newton steps of sigmoid(x); flips: trials of flips
    of the rounded matrix."""

    inverse_iterations: PositiveInt = 1
    """Gauss-Newton iterations, or trials of flips, in one call of the inverse solver."""

    inverse_margin: PositiveFloat = 0.5
    """Distance from zero, on the other side, of the goal of a flipped site; for inverse=flips."""

    inverse_damping: PositiveFloat = 1e-2
    """Damping of the inverse solver, relative to the mean squared singular value."""

    inverse_offsets: tuple[float, ...] = ()
    """Constants added to x on trial before the inverse solver's first iteration; [-1,0,1,2,3,4]
    works well."""

    gradient: Gradient = "implicit"
    """Derivative of the isotherm in training: implicit, from the equation that the density solves;
    unrolled, through `sweeps` plain sweeps per humidity, as published; remat, the same with every
    humidity recomputed in the backward pass. Targets and metrics do not depend on it."""

    sweeps: PositiveInt = 100
    """Sweeps per humidity for gradient=unrolled and gradient=remat."""

    tolerance: PositiveFloat | None = None
    """Estimated mean error of the density at which the solver stops in training; none means 3e-5 in
    float32 and 1e-10 in float64."""

    temperature: PositiveFloat = 298.0
    """Temperature in kelvin."""

    critical_temperature: PositiveFloat = 647.0
    """Critical temperature of the bulk fluid, in kelvin."""

    interaction_ratio: NonNegativeFloat = 1.5
    """Attraction of the solid over that of the fluid, w_mf / w_ff; above 1/2 the solid is
    hydrophilic."""
