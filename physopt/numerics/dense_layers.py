"""Find dense layers in the jaxpr of any function: parameters that enter in matrix products only.

If every use of a parameter leaf in the jaxpr of one sample's outputs is a `dot_general` without
batch dimensions, in which it has the same shape, the leaf is the kernel of a dense layer that acts
on the positions of all these products. The jaxpr is evaluated with a zero added to each product z:
the derivative in that zero is dy/dz, and the product's other operand is recorded.

Leaves with any other use are listed as explicit: convolutions, normalisation scales, weights tied
by a transposition, and whatever enters loops, branches or custom derivative rules.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

Outputs = Callable[[Any, Any], Any]  # (params, sample) -> y, for one sample; y any pytree

# Rearranging a kernel's elements permutes the columns of J, which does not change J J^T.
_REARRANGING = {"convert_element_type", "copy", "expand_dims", "reshape", "squeeze", "transpose"}
# Calls that are equivalent to their body, unlike custom derivative rules, which stay closed.
_CALLS = {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2"}


class DenseProduct(NamedTuple):
    """A use of a kernel leaf: z = dot_general(input, kernel), or with exchanged operands."""

    kernel: int  # leaf number
    path: tuple[int, ...]  # equation numbers of the enclosing calls, then its own
    side: int  # position of the kernel among the operands
    contracted: tuple[int, ...]  # axes of the input that are summed over
    kernel_contracted: tuple[int, ...]  # those of the kernel, in the same order
    rearranged: tuple[Any, ...]  # equations between the leaf and the kernel as it is multiplied
    positions: int  # T, the size of the input's other axes
    shape: tuple[int, ...]  # of z
    dtype: Any


class DenseLayer(NamedTuple):
    """A kernel leaf with all its products, and the bias leaf that is added to some of them."""

    products: tuple[DenseProduct, ...]
    bias: int | None = None  # leaf number
    biased: frozenset[tuple[int, ...]] = frozenset()  # paths of the products, each with T = 1

    @property
    def kernel(self) -> int:
        """Leaf number of the kernel."""
        return self.products[0].kernel

    @property
    def positions(self) -> int:
        """T, over all products."""
        return sum(product.positions for product in self.products)

    @property
    def width(self) -> int:
        """Number of outputs at a position."""
        first = self.products[0]
        return math.prod(first.shape) // max(1, first.positions)


class DenseLayers(NamedTuple):
    """The dense layers of a function, from its jaxpr."""

    jaxpr: jex.ClosedJaxpr  # (parameter leaves..., sample leaves...) -> flat y
    layers: tuple[DenseLayer, ...]
    explicit: tuple[int, ...]  # leaves with any other use

    @property
    def products(self) -> tuple[DenseProduct, ...]:
        """The products of all layers, layer by layer."""
        return tuple(product for layer in self.layers for product in layer.products)


class _Leaf(NamedTuple):
    """A leaf of the parameters, or a rearrangement of it."""

    number: int
    rearranged: tuple[Any, ...]


class _Bias(NamedTuple):
    """A use of a bias leaf: added elementwise to a product that has no other use."""

    product: DenseProduct


_Use = DenseProduct | _Bias | None  # None: any other use


def find_dense_layers(outputs: Outputs, params: Any, samples: Any) -> DenseLayers:
    """Analyse the jaxpr of outputs(params, sample) for one sample of `samples` [batch, ...].

    Raises ValueError for parameters that are not real floating and for samples without arrays.
    """
    named, tree = jax.tree.flatten_with_path(params)
    for path, leaf in named:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(f"parameter {jax.tree_util.keystr(path)} is not real floating")
    if not jax.tree.leaves(samples):
        raise ValueError("samples has no arrays, so the batch has no size")

    def flat(leaves: list[Any], sample: Any) -> Array:
        return ravel_pytree(outputs(tree.unflatten(leaves), sample))[0]

    one = jax.eval_shape(lambda s: jax.tree.map(lambda a: a[0], s), samples)
    jaxpr = jax.make_jaxpr(flat)([leaf for _, leaf in named], one)
    uses = _uses_by_leaf(jaxpr.jaxpr, len(named))

    layers = {i: DenseLayer(products) for i, use in enumerate(uses) if (products := _alike(use))}
    for i, use in enumerate(uses):
        kernel = _kernel_of_bias(use)
        if kernel in layers and layers[kernel].bias is None:
            biased = frozenset(each.product.path for each in use if isinstance(each, _Bias))
            layers[kernel] = layers[kernel]._replace(bias=i, biased=biased)
    layerwise = layers.keys() | {layer.bias for layer in layers.values()}
    explicit = tuple(i for i, use in enumerate(uses) if use and i not in layerwise)
    return DenseLayers(jaxpr, tuple(layers.values()), explicit)


def _alike(uses: Sequence[_Use]) -> tuple[DenseProduct, ...]:
    """Return the products of a leaf if it has no other use and is one matrix in all, else ()."""
    products = tuple(use for use in uses if isinstance(use, DenseProduct))
    matrices = [
        (p.kernel_contracted, [(eqn.primitive, eqn.params) for eqn in p.rearranged])
        for p in products
    ]
    alike = len(products) == len(uses) and all(matrix == matrices[0] for matrix in matrices)
    return products if alike else ()


def _kernel_of_bias(uses: Sequence[_Use]) -> int | None:
    """Return the kernel of the products to which alone a leaf is added, None for other leaves."""
    kernels = {use.product.kernel if isinstance(use, _Bias) else None for use in uses}
    return kernels.pop() if len(kernels) == 1 else None


def _uses_by_leaf(jaxpr: jex.Jaxpr, count: int) -> list[list[_Use]]:
    """Return all uses of each of the first `count` arguments; to be returned is a use, too."""
    others = len(jaxpr.invars) - count
    inside, returned = _uses(jaxpr, [*(_Leaf(i, ()) for i in range(count)), *[None] * others], ())
    uses: list[list[_Use]] = [[] for _ in range(count)]
    for leaf, use in [*inside, *((leaf.number, None) for leaf in returned if leaf is not None)]:
        uses[leaf].append(use)
    return uses


def _uses(
    jaxpr: jex.Jaxpr, entering: Sequence[_Leaf | None], path: tuple[int, ...]
) -> tuple[list[tuple[int, _Use]], list[_Leaf | None]]:
    """Return the uses of the leaves that enter a jaxpr, and the leaves that it returns."""
    atoms = [*(atom for eqn in jaxpr.eqns for atom in eqn.invars), *jaxpr.outvars]
    occurrences = Counter(atom for atom in atoms if isinstance(atom, jex.Var))
    leaf_of = {v: leaf for v, leaf in zip(jaxpr.invars, entering, strict=True) if leaf is not None}
    product_of: dict[jex.Var, DenseProduct] = {}
    uses: list[tuple[int, _Use]] = []

    def leaf(atom: Any) -> _Leaf | None:
        return leaf_of.get(atom) if isinstance(atom, jex.Var) else None

    for number, eqn in enumerate(jaxpr.eqns):
        tags = [leaf(atom) for atom in eqn.invars]
        leaves = [tag for tag in tags if tag is not None]
        if not leaves:
            continue
        out, here = eqn.outvars[0], (*path, number)
        if _is_rearranging(eqn):
            leaf_of[out] = _Leaf(leaves[0].number, (*leaves[0].rearranged, eqn))
        elif (body := _body(eqn)) is not None:
            inner, returned = _uses(body[0], tags, here)
            uses += inner
            leaf_of |= {v: t for v, t in zip(eqn.outvars, returned, strict=True) if t is not None}
        elif (product := _product(eqn, tags, here)) is not None:
            uses.append((product.kernel, product))
            product_of[out] = product
        else:
            bias = _bias(eqn, tags, product_of, occurrences)
            uses += [(tag.number, bias) for tag in leaves]
    return uses, [leaf(atom) for atom in jaxpr.outvars]


def _is_rearranging(eqn: jex.JaxprEqn) -> bool:
    """Return whether an equation keeps all elements, each once; a broadcast may add axes of 1."""
    entering, out = _aval(eqn.invars[0]), _aval(eqn.outvars[0])
    name = eqn.primitive.name
    kept = name in _REARRANGING or (name == "broadcast_in_dim" and entering.size == out.size)
    return kept and jnp.issubdtype(out.dtype, jnp.floating)


def _body(eqn: jex.JaxprEqn) -> tuple[jex.Jaxpr, Sequence[Any]] | None:
    """Return the jaxpr and constants of a plain call, None for any other equation."""
    if eqn.primitive.name not in _CALLS:
        return None
    inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    if isinstance(inner, jex.ClosedJaxpr):
        return inner.jaxpr, inner.consts
    return (inner, ()) if isinstance(inner, jex.Jaxpr) and not inner.constvars else None


def _product(
    eqn: jex.JaxprEqn, tags: Sequence[_Leaf | None], path: tuple[int, ...]
) -> DenseProduct | None:
    """Return an equation as a dense product if exactly one operand is a leaf, else None."""
    if eqn.primitive.name != "dot_general" or None not in tags:
        return None
    contracted, batch = eqn.params["dimension_numbers"]
    if batch != ((), ()):
        return None
    side = tags.index(None) ^ 1
    kernel = tags[side]
    assert kernel is not None
    axes, shape = tuple(contracted[1 - side]), _aval(eqn.invars[1 - side]).shape
    positions = math.prod(size for axis, size in enumerate(shape) if axis not in axes)
    z = _aval(eqn.outvars[0])
    return DenseProduct(
        kernel.number, path, side, axes, tuple(contracted[side]), kernel.rearranged, positions,
        z.shape, z.dtype,
    )  # fmt: skip


def _bias(
    eqn: jex.JaxprEqn,
    tags: Sequence[_Leaf | None],
    product_of: dict[jex.Var, DenseProduct],
    occurrences: Counter[jex.Var],
) -> _Bias | None:
    """Return an equation as the bias of a dense product, None for any other."""
    if eqn.primitive.name != "add" or None not in tags:
        return None
    term = eqn.invars[tags.index(None)]
    if not isinstance(term, jex.Var) or term not in product_of:
        return None
    # dy/db = dy/dz requires that z has no other use, and that b has one element for each of z.
    product = product_of[term]
    alone = occurrences[term] == 1 and product.positions == 1
    same = _aval(eqn.invars[0]).shape == _aval(eqn.invars[1]).shape
    return _Bias(product) if alone and same else None


def _aval(atom: Any) -> Any:
    """Return shape and dtype of a jaxpr's variable or literal."""
    return atom.aval


def evaluate_shifted(
    dense: DenseLayers, leaves: Sequence[Array], sample: Any, shifts: Sequence[Array]
) -> tuple[Array, list[Array]]:
    """Return flat y [|y|] with shifts added to the dense products, and the products' inputs.

    leaves: of the parameters; sample: as `outputs` takes it; shifts: one for each product, of z's
    shape and dtype. Shifts of zero give y itself.
    """
    by_path = {p.path: (p, shift) for p, shift in zip(dense.products, shifts, strict=True)}
    arguments = [*leaves, *jax.tree.leaves(sample)]
    (y,), inputs = _evaluate(dense.jaxpr.jaxpr, dense.jaxpr.consts, arguments, by_path, ())
    return y, [inputs[product.path] for product in dense.products]


def _evaluate(
    jaxpr: jex.Jaxpr,
    constants: Sequence[Any],
    arguments: Sequence[Any],
    shifts: dict[tuple[int, ...], tuple[DenseProduct, Array]],
    path: tuple[int, ...],
) -> tuple[list[Any], dict[tuple[int, ...], Array]]:
    """Evaluate a jaxpr; of the calls, only those that contain a product are inlined."""
    variables = [*jaxpr.constvars, *jaxpr.invars]
    values = dict(zip(variables, [*constants, *arguments], strict=True))
    operands: dict[tuple[int, ...], Array] = {}

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jex.Literal) else values[atom]

    for number, eqn in enumerate(jaxpr.eqns):
        here, inputs = (*path, number), [read(atom) for atom in eqn.invars]
        body = _body(eqn)
        if body is not None and any(p[: len(here)] == here for p in shifts):
            results, inner = _evaluate(*body, inputs, shifts, here)
            operands |= inner
        else:
            with eqn.ctx.manager:  # compute placement and the like, as recorded
                results = eqn.primitive.bind(*inputs, **eqn.primitive.get_bind_params(eqn.params))
            results = results if eqn.primitive.multiple_results else [results]
        if here in shifts:
            product, shift = shifts[here]
            results = [results[0] + shift]
            operands[here] = inputs[1 - product.side]
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars], operands
