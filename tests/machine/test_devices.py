"""The current device, on a machine whose accelerator a run may not have selected."""

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
    """A TPU as JAX's default device."""
    tpu = SimpleNamespace(platform="tpu", memory_stats=lambda: {"bytes_limit": 16e9})
    monkeypatch.setattr(jax, "devices", lambda: [tpu])
    return tpu


def test_jax_s_default_device_is_used_if_none_is_selected(accelerator):
    assert current_device() is accelerator
    assert current_platform() == "tpu"


def test_a_selected_device_takes_precedence(accelerator):
    (cpu,) = devices.select("cpu")
    with devices.computing(cpu, "float32"):
        assert current_device() == cpu
        assert current_platform() == "cpu"
    with jax.default_device("cpu"):
        assert current_device() == cpu


def test_float64_is_refused_on_a_tpu_but_not_on_its_host(accelerator):
    (cpu,) = devices.select("cpu")
    with devices.computing(cpu, "float32"):
        objective, _ = build(Tiny(), "default", seed=0)
        assert HalfInverse().refuses(objective) is None
    assert "no float64" in str(HalfInverse().refuses(objective))
