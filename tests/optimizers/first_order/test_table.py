"""All that optax and optax.contrib offer: each optimiser trains, anything else is refused in words.

The names are read from the installed optax, so that a new one appears here.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from rule_steps import trajectory

from physopt.optimizers.first_order import AnyOptax
from physopt.optimizers.first_order.constructors import NoOptimizer, find, optimizers
from physopt.options import OptionError
from physopt.records.checkpoints import Checkpoints
from physopt.training.loop import Carry

STEPS = 100
REQUIRED = {"dpsgd": {"l2_norm_clip": 1.0, "noise_multiplier": 1.0, "seed": 0}}

PARAMS = {
    "matrix": jnp.asarray([[1.0, -0.5, 0.3], [0.2, 0.8, -1.0]]),
    "vector": jnp.asarray([0.5, 1.0, -2.0]),
}
CURVATURE = {
    "matrix": jnp.asarray([[1.0, 0.5, 0.3], [0.2, 0.1, 0.7]]),
    "vector": jnp.asarray([1.0, 0.3, 0.1]),
}


def loss(params):
    return 0.5 * optax.tree.vdot(params, jax.tree.map(jnp.multiply, CURVATURE, params))


def public():
    """The public functions and values of optax and optax.contrib."""
    members = {**vars(optax.contrib), **vars(optax)}
    return {n: m for n, m in members.items() if n[0] != "_" and not inspect.ismodule(m)}


@pytest.mark.filterwarnings("ignore:Specifying a key", "ignore:.*deprecated")
@pytest.mark.parametrize("name", optimizers())
def test_an_optimiser_trains_with_its_own_defaults_or_says_why_not(name):
    if name in REQUIRED:
        with pytest.raises(OptionError, match="is required by"):
            AnyOptax(optimizer=name)
        with pytest.raises(OptionError, match="batch dimension"):  # needs a gradient per sample
            AnyOptax(optimizer=name, **REQUIRED[name])
        return
    rule = AnyOptax(optimizer=name)
    params, state, _, losses, slopes = trajectory(rule, loss, PARAMS, STEPS)
    before, after = losses[0].item(), jnp.asarray(loss(rule.evaluated(params, state))).item()
    assert np.isfinite(losses).all()
    assert jnp.sum(slopes).item() < 0, "the steps go downhill"
    assert after < before
    if rule.as_dict().get("learning_rate") == 1 and name != "adadelta":
        assert after < 0.5 * before, "these set the length of a step themselves"


def test_everything_else_is_refused_with_a_reason():
    names = public()
    assert set(optimizers()) < set(names)
    assert {"adam", "prodigy", "schedule_free_adamw", "sophia", "galore"} <= set(optimizers())
    for name in names.keys() - optimizers().keys():
        with pytest.raises(OptionError) as refused:
            AnyOptax(optimizer=name)
        assert refused.value.key == "rule.optimizer"
        assert len(refused.value.reason.split()) > 5
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("l2_loss", "no optimiser, but a function of predictions, targets"),
        ("cosine_decay_schedule", "no optimiser, but a function of init_value"),
        ("clip", "building block .* such as adam"),
        ("scale_by_adam", "building block .* such as adam"),
        ("scale_by_sm3", "building block .* such as sm3"),
        ("mechanize", "wraps another optimiser: it needs base_optimizer"),
        ("sam", "it needs optimizer and adv_optimizer"),
        ("schedule_free", "it needs base_optimizer"),
        ("chain", "wraps another optimiser"),
        ("multi_transform", "it needs transforms"),
        ("MultiSteps", "not an optimiser"),
        ("_src", "neither optax nor optax.contrib has it"),
        ("adamm", r"did you mean adam\?"),
    ],
)
def test_the_reason_says_what_it_is_or_what_is_missing(name, reason):
    with pytest.raises(OptionError, match=reason):
        AnyOptax(optimizer=name)


@pytest.mark.filterwarnings("ignore")  # what optax deprecates is part of what it offers
def test_no_building_block_that_descends_is_refused_without_its_whole():
    """What a signature calls a building block does not descend, but for two that are offered."""
    blocks = {}
    for name, make in public().items():
        if name in optimizers() or not inspect.isfunction(make):
            continue
        try:
            parameters = inspect.signature(make).parameters.values()
            needed = [
                p.name for p in parameters if p.default is p.empty and p.kind != p.VAR_POSITIONAL
            ]
            made = make(**dict.fromkeys(needed, 0.5))
            jax.eval_shape(lambda made=made: first_slope(made))
        except Exception:  # neither a loss nor a wrapper can be made of numbers
            continue
        blocks[name] = made
    assert len(blocks) > 30
    slopes = jax.jit(lambda: {name: first_slope(made) for name, made in blocks.items()})()
    descending = {name for name, slope in slopes.items() if float(slope) < 0}
    assert descending == {"scale_by_madgrad", "scale_by_cocob"}
    assert {name.removeprefix("scale_by_") for name in descending} <= set(optimizers())


def first_slope(optimizer):
    value, gradient = jax.value_and_grad(loss)(PARAMS)
    updates, _ = optax.with_extra_args_support(optimizer).update(
        gradient, optimizer.init(PARAMS), PARAMS, value=value, grad=gradient,
        value_fn=lambda params, obj_fn=None: loss(params), obj_fn=loss,
    )  # fmt: skip
    return optax.tree.vdot(updates, gradient)


@pytest.mark.filterwarnings("ignore:Specifying a key")
@pytest.mark.parametrize("name", ["galore", "noisy_sgd", "lbfgs", "sophia", "schedule_free_adamw"])
def test_a_state_survives_a_checkpoint(name, tmp_path):
    rule = AnyOptax(optimizer=name, schedule="plateau", clip_norm=1.0)
    params, state, *_ = trajectory(rule, loss, PARAMS, 3)
    carry = Carry(params, state, jnp.int32(3), {"loss": jnp.zeros(())}, jnp.bool_(False))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, carry, params, {"t": 1.0})
    empty = jax.tree.map(jnp.zeros_like, carry)
    restored, best, _ = checkpoints.restore(empty)
    checkpoints.close()
    jax.tree.map(must_be_equal, (restored, best), (carry, params))
    if name == "galore":
        assert any(leaf.size == 0 for leaf in jax.tree.leaves(state)), "orbax refuses empty arrays"


def must_be_equal(actual, expected):
    assert actual.dtype == expected.dtype
    if jnp.issubdtype(actual.dtype, jax.dtypes.prng_key):
        actual, expected = map(jax.random.key_data, (actual, expected))
    np.testing.assert_array_equal(actual, expected)


def test_no_option_of_an_optimiser_is_hidden_by_one_of_the_rule():
    for name, make in optimizers().items():
        fields = AnyOptax.class_for({"optimizer": name}).__dataclass_fields__
        given = inspect.signature(make).parameters.values()
        scalars = {p.name for p in given if type(p.default) in (bool, int, float, str, tuple)}
        assert scalars <= set(fields), name


def test_a_constructor_is_found_by_name_alone():
    assert find("adam") is optax.adam
    assert find("prodigy") is optax.contrib.prodigy
    with pytest.raises(NoOptimizer):
        find("tree")
