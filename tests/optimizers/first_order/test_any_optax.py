"""AnyOptax: optax's own options and defaults, read, recorded and changed like any others."""

import copy
import dataclasses
import json
import os
import pickle
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from rule_steps import trajectory
from tiny import Tiny

import physopt
from physopt.cli import main
from physopt.config import from_record, from_words
from physopt.config.registry import find, name_of
from physopt.objective import build
from physopt.optimizers.first_order import AnyOptax
from physopt.optimizers.sip import SIP
from physopt.options import OptionError
from physopt.sweeping.plan import labels, planned_runs, read_request
from physopt.training.identity import run_id
from physopt.training.per_sample import PerSample

PARAMS = {"a": jnp.asarray([1.0, -2.0, 0.5]), "b": jnp.asarray([[0.3, -0.7]])}
STEPS = 40
ANY: Any = None


def loss(params):
    return jnp.sum(jnp.cosh(params["a"])) + jnp.sum(jnp.cosh(params["b"])) - 5.0


def by_rule(rule):
    """Parameters after each step of a rule."""
    return trajectory(rule, loss, PARAMS, STEPS).iterates


def by_optax(optimizer, steps=STEPS):
    """Parameters after each step of an optimiser, as its documentation applies it."""
    optimizer = optax.with_extra_args_support(optimizer)

    def step(carry, _):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params, value=value, obj_fn=loss)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    begin = (PARAMS, optimizer.init(PARAMS))
    return jax.jit(lambda begin: jax.lax.scan(step, begin, None, length=steps)[1])(begin)


def must_agree(actual, expected):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("options", "optimizer"),
    [
        ({"optimizer": "prodigy"}, optax.contrib.prodigy()),
        ({"optimizer": "dowg", "weight_decay": 0.1}, optax.contrib.dowg(weight_decay=0.1)),
        ({"optimizer": "adam", "b1": 0.5}, optax.adam(1e-3, b1=0.5)),
        ({"optimizer": "momo", "lower_bound": -1.0}, optax.contrib.momo(lower_bound=-1.0)),
        (
            {"optimizer": "sophia", "update_interval": 3},
            optax.contrib.sophia(1e-3, update_interval=3),
        ),
        ({"optimizer": "adafactor"}, optax.adafactor()),
        ({"optimizer": "rmsprop", "momentum": 0.5}, optax.rmsprop(1e-3, momentum=0.5)),
    ],
    ids=lambda case: case.get("optimizer") if isinstance(case, dict) else "",
)
def test_a_rule_is_the_optimiser_that_optax_makes_of_its_options(options, optimizer):
    must_agree(by_rule(AnyOptax(**options)), by_optax(optimizer))


@pytest.mark.parametrize("name", ["prodigy", "dadapt_adamw", "madgrad", "momo"])
def test_a_schedule_is_that_of_optax_where_steps_are_not_linear_in_the_learning_rate(name):
    rule = AnyOptax(optimizer=name, schedule="cosine")
    rate = optax.cosine_decay_schedule(rule.learning_rate, STEPS)
    make = getattr(optax.contrib, name)
    must_agree(by_rule(rule), by_optax(make(rate)))
    last = jax.tree.map(lambda leaf: leaf[-1], (by_rule(rule), by_optax(make(rule.learning_rate))))
    assert float(optax.tree.norm(optax.tree.sub(*last))) > 1e-4, "and not the constant one"


@pytest.mark.parametrize("name", ["rprop", "lbfgs", "polyak_sgd"])
def test_a_schedule_scales_the_steps_of_all_other_optimisers(name):
    plain, scaled = (AnyOptax(optimizer=name, schedule=s) for s in ("constant", "cosine"))
    steps = []
    for rule in (plain, scaled):
        value, gradient = jax.value_and_grad(loss)(PARAMS)
        step = jax.jit(
            lambda state, rule=rule, value=value, gradient=gradient: rule.step(
                gradient, state, PARAMS, jnp.full((1,), 0.5), value, loss
            )
        )
        _, state = step(rule.init(ANY, PARAMS, ANY))  # the first step of rprop is zero
        steps.append(step(state)[0])
    must_agree(steps[1], optax.tree.scale(0.5, steps[0]))
    assert float(optax.tree.norm(steps[0])) > 0


def test_a_warmup_from_zero_does_not_divide_by_zero():
    rule = AnyOptax(optimizer="prodigy", schedule="warmup_cosine", warmup=0.2)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(by_rule(rule)))


WORDS = [
    ("rule.optimizer=adam", "rule.b1=0.8"),
    ("rule.optimizer=prodigy", "rule.learning_rate=0.5", "rule.betas=[0.8,0.99]"),
    ("rule.optimizer=dog", "rule.init_step=[distance,0.001]", "rule.weight_decay=0.1"),
    ("rule.optimizer=polyak_sgd", "rule.variant=sps+"),
    ("rule.optimizer=schedule_free_sgd", "rule.warmup_steps=5"),
    ("rule.optimizer=muon", "rule.preconditioning=aol", "rule.nesterov=false"),
    ("rule.optimizer=noisy_sgd", "rule.key=3"),
    (),
]


@pytest.mark.parametrize("words", WORDS, ids=lambda words: words[0] if words else "default")
@pytest.mark.parametrize("rule", ["optax", "sip"])
def test_options_are_read_recorded_and_written_again(rule, words):
    config = from_words(["problem=sin", f"rule={rule}", *words])
    usual = f"rule.optimizer={find('rule', rule).optimizer}"
    assert set(words) - {usual} <= set(config.words())
    assert from_words(list(config.words())) == config
    record = json.loads(json.dumps(config.record(), default=str))
    assert from_record(record) == config
    assert record["rule"]["name"] == rule
    for word in words:
        key, _, text = word.removeprefix("rule.").partition("=")
        recorded = record["rule"][key]
        assert str(recorded).lower().replace("'", "").replace(" ", "") == text


def test_an_option_is_part_of_the_identity_of_a_run():
    first, second, again = (
        from_words(["problem=sin", "rule=optax", "rule.optimizer=adam", f"rule.b1={b1}"])
        for b1 in (0.8, 0.7, 0.8)
    )
    assert run_id(first, "cpu") == run_id(again, "cpu") != run_id(second, "cpu")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"optimizer": "adam", "b3": 0.8}, r"b3=0.8: adam has no such option; did you mean b2\?"),
        ({"optimizer": "polyak_sgd", "learning_rate": 1.0}, "did you mean max_learning_rate"),
        ({"optimizer": "adam", "learning_rate": 0.0}, "must be greater than 0"),
        ({"optimizer": "adam", "b1": "high"}, "must be a finite number"),
        ({"optimizer": "prodigy", "betas": [0.9]}, "must have 2 entries"),
        ({"optimizer": "dog", "init_step": ["far", 1]}, "must be one of distance"),
        ({"optimizer": "polyak_sgd", "variant": "sps_min"}, "optax refuses it: Invalid argument"),
        ({"optimizer": "galore", "rank": 1.5}, "must be a whole number"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(options, reason):
    with pytest.raises(OptionError, match=reason):
        AnyOptax(**options)


def test_the_help_lists_the_options_of_the_named_optimiser(capsys):
    words = ["run", "problem=sin", "rule=optax", "--help"]
    assert main([*words, "rule.optimizer=prodigy"]) == 0
    assert "rule.estim_lr0=FLOAT" in capsys.readouterr().out
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "rule.eps_root=FLOAT" in text
    assert "estim_lr0" not in text


def test_check_takes_the_options_of_an_optimiser(capsys):
    assert main(["check", "optax", "optimizer=adam", "b4=1"]) == 2
    assert "did you mean b" in capsys.readouterr().err


def test_an_instance_can_be_changed_copied_and_pickled():
    rule = AnyOptax(optimizer="adam", b1=0.8)
    assert rule.replace(b1=0.7) == AnyOptax(optimizer="adam", b1=0.7)
    assert rule.replace(optimizer="adamw") == AnyOptax(optimizer="adamw", b1=0.8)
    assert AnyOptax(optimizer="adam").replace(optimizer="dog") == AnyOptax(optimizer="dog")
    with pytest.raises(OptionError, match="sgd has no such option"):
        rule.replace(optimizer="sgd")
    with pytest.raises(OptionError, match="this is the class of adam"):
        dataclasses.replace(rule, optimizer="adamw")
    for same in (pickle.loads(pickle.dumps(rule)), copy.deepcopy(rule)):
        assert same == rule
        assert hash(same) == hash(rule)
    assert isinstance(rule, AnyOptax)
    assert name_of("rule", type(rule)) == "optax"
    assert from_words(["problem=sin", "rule=optax"]).with_option(
        "rule.optimizer", "lion"
    ).rule == AnyOptax(optimizer="lion")


def test_a_sweep_names_optimisers_without_the_options_that_only_one_has():
    request = read_request(["problem=sin", "rule=optax", "rule.optimizer=adam,dog"])
    assert labels(planned_runs(request)) == [
        "sin optax rule.optimizer=adam rule.learning_rate=0.001",
        "sin optax rule.optimizer=dog rule.learning_rate=1.0",
    ]


def test_the_learning_rate_is_tuned_around_its_default():
    ranges = {
        name: AnyOptax.class_for({"optimizer": name}).tunable
        for name in ("adam", "prodigy", "polyak_sgd")
    }
    assert ranges["adam"]["learning_rate"] == pytest.approx((1e-5, 1e-1))
    assert ranges["prodigy"]["learning_rate"] == pytest.approx((1e-2, 1e2))
    assert ranges["polyak_sgd"] == {}
    assert find("rule", "sip").tunable == {"learning_rate": pytest.approx((1e-5, 1e-1))}


def test_a_preset_of_the_usual_optimiser_is_not_used_for_another():
    usual = from_words(["problem=quantum", "rule=sip"]).rule
    other = from_words(["problem=quantum", "rule=sip", "rule.optimizer=prodigy"]).rule
    assert (usual.as_dict()["learning_rate"], other.as_dict()["learning_rate"]) == (1e-2, 1.0)
    repeated = from_words(["problem=ldft2d", "rule=sip", "rule.optimizer=prodigy"]).rule
    assert isinstance(repeated, SIP)
    assert repeated.repeat == 4


def test_second_derivatives_are_counted_where_they_are_evaluated():
    problem = Tiny()
    objective, params = build(problem, "default", 0)
    batch = problem.sample(jax.random.split(jax.random.key(0), 4)).at(0.0)
    rule = AnyOptax(optimizer="sophia", update_interval=2, schedule="plateau")
    state, update = rule.init(objective, params, jax.random.key(1)), jax.jit(rule.update)
    counts = []
    for _ in range(3):
        _, state, info = update(objective, params, state, batch, jax.random.key(2))
        counts.append((int(info["n_simulate"]), int(info["n_vjp"])))
    assert counts == [(12, 12), (4, 4), (12, 12)]


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_a_schedule_free_optimiser_is_evaluated_at_its_average(clip_norm):
    problem = Tiny()
    objective, params = build(problem, "default", 0)
    batch = problem.sample(jax.random.split(jax.random.key(0), 4)).at(0.0)
    key = jax.random.key(1)
    for rule in (AnyOptax(optimizer="schedule_free_sgd", clip_norm=clip_norm), AnyOptax()):
        state, now = rule.init(objective, params, key), params
        for _ in range(3):
            updates, state, _ = jax.jit(rule.update)(objective, now, state, batch, key)
            now = optax.apply_updates(now, updates)
        expected = now
        if rule.optimizer == "schedule_free_sgd":
            own = state.optimizer if clip_norm is None else state.optimizer[1]
            expected = optax.contrib.schedule_free_eval_params(own, now)
            assert float(optax.tree.norm(optax.tree.sub(expected, now))) > 0
        jax.tree.map(np.testing.assert_array_equal, rule.evaluated(now, state), expected)


def test_a_run_records_and_resumes_an_optimiser_with_empty_state(tmp_path):
    settings: dict[str, Any] = {"heldout_size": 4, "batch_size": 4, "log_every": 5}
    rule = AnyOptax(optimizer="galore", rank=1, learning_rate=1e-2)
    whole = physopt.run(Tiny(), rule, steps=10, out=tmp_path / "whole", **settings)
    part = physopt.run(Tiny(), rule, steps=5, out=tmp_path / "part", **settings)
    resumed = physopt.resume(part.folder, steps=10)
    assert resumed.config.rule == rule
    columns = ["step", "train_loss", "test_loss"]
    assert whole.curve[columns].equals(resumed.curve[columns])


def test_every_sample_may_have_its_own_optimiser(tmp_path):
    rule = AnyOptax(optimizer="schedule_free_adamw")
    assert PerSample(rule).rule == rule
    run = physopt.run(
        Tiny(), rule, network="none", steps=5, batch_size=4, heldout_size=4, out=tmp_path
    )
    assert run.status["status"] == "ok"


def test_a_config_is_read_without_a_device():
    """Sweeps and feasibility read configs in a process that must take no memory of a device."""
    read = (
        "from physopt.config import from_words\n"
        "rule = from_words(['problem=sin', 'rule=optax', 'rule.optimizer=sophia']).rule\n"
        "print(rule.gamma)"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "none_such"}
    done = subprocess.run(
        [sys.executable, "-c", read], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "0.01", done.stderr
