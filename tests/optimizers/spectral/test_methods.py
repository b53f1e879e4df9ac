"""The choice of a method for a spectral update: by cost, within memory."""

import pytest

from physopt.optimizers.spectral.decomposition import Spectrum
from physopt.optimizers.spectral.methods import choose
from physopt.optimizers.spectral.sizes import Size
from physopt.rule import PlanError

DENSE = Size(16, 64, 64, 41408, ((1, 64, 64), (1, 64, 256), (1, 256, 64)), 0, False, 4, 30, 16e9)


@pytest.mark.parametrize(
    ("size", "method"),
    [
        (DENSE, "layerwise"),
        (DENSE._replace(linearizes=True), "physics"),
        # Damped enough, thirty steps of the Krylov method are exact, and cheaper.
        (DENSE._replace(linearizes=True, spectrum=Spectrum(damping=0.2)), "krylov"),
        (DENSE._replace(linearizes=True, spectrum=Spectrum(damping=0.02)), "physics"),
        (DENSE._replace(layers=(), explicit=41408), "layerwise"),
        (DENSE._replace(batch=512, outputs=4, parameters=300, layers=((1, 10, 30),)), "columns"),
        # A convolutional network with 10^6 parameters and 64 x 64 outputs, within 4 GB.
        (DENSE._replace(batch=8, outputs=4096, parameters=10**6, layers=(), explicit=10**6,
                        limit=4e9), "krylov"),
    ],
)  # fmt: skip
def test_the_choice_of_a_method(size, method):
    plan = choose(size, "auto")
    assert plan.method.name == method
    assert plan.method.bytes(size) <= size.limit
    assert method in str(plan)


def test_a_method_beyond_memory_is_refused():
    with pytest.raises(PlanError, match=r"needs .* of 10 MB for n = 1024; lower batch_size"):
        choose(DENSE._replace(limit=1e7), "layerwise")
    with pytest.raises(PlanError, match="no method fits"):
        choose(DENSE._replace(limit=1e4), "auto")
    # The rows are computed in pieces if they do not fit at once.
    tight = DENSE._replace(limit=120e6)
    assert choose(tight, "rows").method.bytes(tight) < 120e6
