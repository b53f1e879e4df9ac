"""Lowering of GPU kernels on a machine without a GPU, with the verification of their modules."""

import jax
import pytest
from jax.sharding import AbstractMesh, use_abstract_mesh

GPU = "NVIDIA H100 80GB HBM3"


def triton_modules(function, *shapes, monkeypatch):
    """Lower a function for CUDA, verify the Triton module of each kernel, and return the modules.

    JAX does not verify a module before the GPU's compiler does, on the GPU.
    """
    reason = "this JAX has no Triton lowering"
    registration = pytest.importorskip(
        "jax._src.pallas.triton.pallas_call_registration", reason=reason
    )
    lower = registration.lowering.lower_jaxpr_to_triton_module
    modules = []

    def verified(*arguments, **options):
        result = lower(*arguments, **options)
        assert result.module.operation.verify()
        modules.append(str(result.module))
        return result

    monkeypatch.setattr(registration.lowering, "lower_jaxpr_to_triton_module", verified)
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=_device())):
        jax.jit(function).trace(*shapes).lower(lowering_platforms=("cuda",))
    return modules


def _device():
    try:
        from jax.sharding import AbstractDevice
    except ImportError:  # JAX 0.10
        from jax._src.mesh import AbstractDevice
    return AbstractDevice(GPU, None, "cuda")
