"""References for the numerics: the dense spectral power, and a leaf's treatment by the layers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from physopt.numerics.dense_layers import find_dense_layers
from physopt.numerics.float64 import evaluated_in, real_array
from physopt.numerics.linalg import HIGHEST, gram_power


def spectral_power(jacobian, vector, kappa=-0.5, rcond=1e-5, damping=0.0, dtype=np.float64):
    """V S^kappa U^T vector for a dense Jacobian U S V^T [n, P], by `gram_power` of the smaller of
    J J^T and J^T J, in `dtype`.
    """

    def apply(v, j, kappa):
        def power(gram, right):
            return gram_power(gram, right, kappa, rcond, damping, dtype).coefficients

        jt = j.T
        if j.shape[0] <= j.shape[1]:
            return product(jt, power(product(j, jt), v))
        return power(product(jt, j), product(jt, v))

    arrays = [real_array(value) for value in (vector, jacobian, kappa)]
    return evaluated_in(apply)(dtype, arrays[0].dtype, *arrays)


def product(a, b):
    return jnp.matmul(a, b, precision=HIGHEST)


class Split(NamedTuple):
    """Names of the parameter leaves: parts of dense layers, all others, and those never used."""

    layerwise: tuple[str, ...]
    explicit: tuple[str, ...]
    unused: tuple[str, ...]


def parameter_split(outputs, params, samples):
    """Return how `layerwise_gram` treats each parameter leaf."""
    dense = find_dense_layers(outputs, params, samples)
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.flatten_with_path(params)[0]]
    layerwise = {i for layer in dense.layers for i in (layer.kernel, layer.bias) if i is not None}
    unused = set(range(len(names))) - layerwise - set(dense.explicit)
    return Split(
        *(tuple(names[i] for i in leaves) for leaves in (layerwise, dense.explicit, unused))
    )
