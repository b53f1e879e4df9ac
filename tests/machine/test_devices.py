"""Where JAX computes now, on a machine that has an accelerator which a run did not choose."""

from types import SimpleNamespace

import jax
import pytest
from tiny import Tiny

from physopt.machine import devices
from physopt.machine.devices import current_device, current_platform
from physopt.objective import build
from physopt.optimizers.spectral import HalfInverse


@pytest.fixture
def accelerator(monkeypatch):
    """A TPU that JAX would take by default."""
    tpu = SimpleNamespace(platform="tpu", memory_stats=lambda: {"bytes_limit": 16e9})
    monkeypatch.setattr(jax, "devices", lambda: [tpu])
    return tpu


def test_the_best_device_is_used_where_none_is_chosen(accelerator):
    assert current_device() is accelerator
    assert current_platform() == "tpu"


def test_a_chosen_device_prevails(accelerator):
    (cpu,) = devices.select("cpu")
    with devices.computing(cpu, "float32"):
        assert current_device() == cpu
        assert current_platform() == "cpu"
    with jax.default_device("cpu"):
        assert current_device() == cpu


def test_float64_is_refused_on_a_tpu_and_not_on_the_processor_beside_it(accelerator):
    (cpu,) = devices.select("cpu")
    with devices.computing(cpu, "float32"):
        objective, _ = build(Tiny(), "default", seed=0)
        assert HalfInverse().refuses(objective) is None
    assert "no float64" in str(HalfInverse().refuses(objective))
