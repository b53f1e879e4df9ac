"""Where JAX computes now: on the device that a run chose, not on the best that there is."""

from typing import Any

import jax

Device = Any  # a jax.Device, which is no class to a type checker


def current_device() -> Device:
    """Return the device of `jax.default_device`, or else JAX's first."""
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    if isinstance(chosen, str):  # JAX takes the name of a platform as well
        return jax.local_devices(backend=chosen)[0]
    return chosen or jax.devices()[0]


def current_platform() -> str:
    """Return "cpu", "gpu" or "tpu": what programs that are traced now will run on."""
    return current_device().platform
