"""check: detects every mistake it claims to detect, and reports none in correct classes."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from tiny import Descent, Tiny

import physopt
from physopt.checking import check
from physopt.networks import Dense
from physopt.optimizers.sip import SIP
from physopt.optimizers.spectral import GaussNewton, HalfInverse


def failed(options):
    return {finding.claim: finding.detail for finding in check(options) if not finding.passed}


@dataclasses.dataclass(frozen=True)
class CoupledSamples(Tiny):
    def simulate(self, x, batch):
        return super().simulate(x - jnp.mean(x, axis=0), batch)


@dataclasses.dataclass(frozen=True)
class WrongGradient(Tiny):
    def simulate(self, x, batch):
        return super().simulate(x + jax.lax.stop_gradient(0.1 * x), batch)


class FirstOutputsZero(Dense):
    def __call__(self, inputs):
        return super().__call__(inputs) * 0.0


@dataclasses.dataclass(frozen=True)
class KinkAtZero(Tiny):
    """Piecewise linear, as an interpolation, with a kink at the outputs of the first network."""

    def network(self, rngs):
        return FirstOutputsZero((self.size, 8, self.size), rngs)

    def simulate(self, x, batch):
        return super().simulate(jnp.where(x < 0, 0.1 * x, x), batch)


@dataclasses.dataclass(frozen=True)
class WrongGradientAtKink(KinkAtZero):
    def simulate(self, x, batch):
        return super().simulate(x + jax.lax.stop_gradient(0.1 * x), batch)


@dataclasses.dataclass(frozen=True)
class LosesPrecision(Tiny):
    def simulate(self, x, batch):
        return super().simulate(x.astype("float32"), batch)


@dataclasses.dataclass(frozen=True)
class TotalLoss(Tiny):
    def loss(self, y, batch):
        return jnp.sum((y - batch.target) ** 2)


@dataclasses.dataclass(frozen=True)
class UselessInverse(Tiny):
    def invert(self, x, batch):
        return x + 10.0


@dataclasses.dataclass(frozen=True)
class WrongSlope(Tiny):
    def linearize(self, x, batch):
        y = self.simulate(x, batch)
        return y, jnp.broadcast_to(jnp.eye(self.size, dtype=x.dtype), (*y.shape, self.size))


class ComplexDense(Dense):
    def __call__(self, inputs):
        return super().__call__(inputs) * jnp.exp(1j)


@dataclasses.dataclass(frozen=True)
class ComplexUnknowns(Tiny):
    def network(self, rngs):
        return ComplexDense((self.size, 8, self.size), rngs)


@dataclasses.dataclass(frozen=True)
class Waves(Tiny):
    """y = s exp(i x): complex observations, with a real loss."""

    def sample(self, keys):
        batch = super().sample(keys)
        return dataclasses.replace(batch, target=self.simulate(batch.target, batch))

    def simulate(self, x, batch):
        return super().simulate(x, batch) * jnp.exp(1j * x)

    def metrics(self, x, y, batch):
        return {}

    target = None


@dataclasses.dataclass(frozen=True)
class CoupledPhases(Waves):
    """The samples are coupled by an imaginary part alone."""

    def simulate(self, x, batch):
        return super().simulate(x, batch) + 1j * jnp.mean(x, axis=0)


@dataclasses.dataclass(frozen=True)
class SharedDraws(Tiny):
    def sample(self, keys):
        target = jax.random.normal(keys[0], (keys.shape[0], self.size))
        return dataclasses.replace(super().sample(keys), target=target)


@dataclasses.dataclass(frozen=True)
class WrongTarget(Tiny):
    target = ("eror", 0.1)


@dataclasses.dataclass(frozen=True)
class ReadsValues(Tiny):
    def simulate(self, x, batch):
        return super().simulate(x, batch) if float(x[0, 0]) < 1e9 else x


@pytest.mark.parametrize("options", [Tiny(), Waves(), KinkAtZero(), Descent()])
def test_a_correct_class_passes_every_check(options):
    assert not failed(options)


@pytest.mark.parametrize(
    ("problem", "claim", "words"),
    [
        (CoupledSamples(), "simulate: samples are independent", "depends on the other samples"),
        (CoupledPhases(), "simulate: samples are independent", "depends on the other samples"),
        (ComplexUnknowns(), "network: inputs", "x is complex"),
        (WrongGradient(), "gradient agrees", "off by"),
        (WrongGradientAtKink(), "gradient agrees", "beside the network's first x"),
        (LosesPrecision(), "keeps the precision", "in float64 y is float32"),
        (TotalLoss(), "one finite number per sample", "shape ()"),
        (UselessInverse(), "invert", "inverse step"),
        (WrongSlope(), "linearize", "forward differentiation"),
        (SharedDraws(), "one independent sample per key", "keys of the others"),
        (WrongTarget(), "one finite number per sample", "target names eror"),
        (ReadsValues(), "network: inputs", "Concretization"),
    ],
)
def test_a_problem_s_mistake_is_named(problem, claim, words):
    failures = failed(problem)
    named = [detail for text, detail in failures.items() if claim in text]
    assert named, failures
    assert words in named[0]


@dataclasses.dataclass(frozen=True)
class DoublePrecision(Descent):
    def update(self, objective, params, state, batch, key):
        updates, state, info = super().update(objective, params, state, batch, key)
        return jax.tree.map(lambda u: u.astype("float16"), updates), state, info


@dataclasses.dataclass(frozen=True)
class NotCounted(Descent):
    def update(self, objective, params, state, batch, key):
        updates, state, info = super().update(objective, params, state, batch, key)
        return updates, state, {"loss": info["loss"]}


@dataclasses.dataclass(frozen=True)
class Normalised(Descent):
    def update(self, objective, params, state, batch, key):
        updates, state, info = super().update(objective, params, state, batch, key)
        return jax.tree.map(lambda u: u / jnp.linalg.norm(u), updates), state, info


@dataclasses.dataclass(frozen=True)
class Ascent(Descent):
    def update(self, objective, params, state, batch, key):
        updates, state, info = super().update(objective, params, state, batch, key)
        return jax.tree.map(jnp.negative, updates), state, info


@pytest.mark.parametrize(
    ("rule", "claim", "words"),
    [
        (DoublePrecision(), "keeps shapes and types", "float32"),
        (NotCounted(), "keeps shapes and types", "counts no cost"),
        (Normalised(), "Jacobian is zero", "not finite"),
        (Ascent(learning_rate=0.01), "loss falls", "to"),
    ],
)
def test_a_rule_s_mistake_is_named(rule, claim, words):
    failures = failed(rule)
    named = [detail for text, detail in failures.items() if claim in text]
    assert named, failures
    assert words in named[0]


@pytest.mark.parametrize("rule", [HalfInverse(), GaussNewton(), SIP()])
def test_linear_algebra_refuses_complex_observations(tmp_path, rule):
    run = physopt.run(Waves(), rule, out=tmp_path)
    assert run.status["status"] == "skipped"
    assert "real and imaginary part as two real arrays" in run.status["reason"]
