"""Operators that move, repeat, leave out or look up elements, and those that read shapes."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.nn.functional import pad as torch_pad

from memscan.kernels.torch_runtime.lowering_table import Compute, LoweringTable, integers
from memscan.kernels.torch_runtime.node import Node

LOWERINGS = LoweringTable()


@LOWERINGS.lowering("Shape", shape_only=True)
def shape(node: Node) -> Compute:
    """Some or all dimensions."""
    start, end = node.attribute("start", 0), node.attribute("end", None)
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


@LOWERINGS.lowering("Range", on_host=(0, 1, 2), placed=True)
def range_(node: Node) -> Compute:
    """Numbers from a first one up to a limit, by steps."""

    def compute(start: Tensor, limit: Tensor, step: Tensor, *, device: torch.device) -> Tensor:
        return torch.arange(start.item(), limit.item(), step.item(), dtype=start.dtype, device=device)

    return compute


@LOWERINGS.lowering("Reshape", on_host=(1,))
def reshape(node: Node) -> Compute:
    """To a shape in which -1 stands for what is left and, but for `allowzero`, 0 for the same dimension as before."""
    allow_zero = node.attribute("allowzero", 0)

    def compute(x: Tensor, target: Tensor) -> Tensor:
        dims = integers(target)
        if not allow_zero:
            dims = [x.shape[axis] if dim == 0 else dim for axis, dim in enumerate(dims)]
        return x.reshape(dims)

    return compute


@LOWERINGS.lowering("Unsqueeze", on_host=(1,))
def unsqueeze(node: Node) -> Compute:
    """New axes of length 1, counted in the result."""

    def compute(x: Tensor, axes: Tensor) -> Tensor:
        rank = x.ndim + axes.numel()
        for axis in sorted(axis % rank for axis in integers(axes)):
            x = x.unsqueeze(axis)
        return x

    return compute


@LOWERINGS.lowering("Squeeze", on_host=(1,))
def squeeze(node: Node) -> Compute:
    """Axes of length 1 away: those given, or all."""

    def compute(x: Tensor, axes: Tensor | None = None) -> Tensor:
        given = integers(axes) if axes is not None else [axis for axis, dim in enumerate(x.shape) if dim == 1]
        dropped = {axis % x.ndim for axis in given}
        if any(x.shape[axis] != 1 for axis in dropped):
            raise node.unsupported(f"the shape {tuple(x.shape)}, of which axes {sorted(dropped)} must be 1,")
        return x.reshape([dim for axis, dim in enumerate(x.shape) if axis not in dropped])

    return compute


@LOWERINGS.lowering("Transpose")
def transpose(node: Node) -> Compute:
    """Axes in another order; by default reversed."""
    perm: Sequence[int] | None = node.attribute("perm", None)
    return lambda x: x.permute(perm if perm is not None else tuple(reversed(range(x.ndim))))


@LOWERINGS.lowering("Expand", on_host=(1,))
def expand(node: Node) -> Compute:
    """Broadcasting in both directions: a 1 in the target keeps the dimension as it is."""
    return lambda x, target: x.expand(torch.broadcast_shapes(x.shape, integers(target)))


@LOWERINGS.lowering("Concat")
def concat(node: Node) -> Compute:
    """Side by side along an axis."""
    axis = node.attribute("axis")
    return lambda *parts: torch.cat(parts, axis)


@LOWERINGS.lowering("Split", on_host=(1,), several=True)
def split(node: Node) -> Compute:
    """Parts of given lengths, or so many equal parts, of which the last may be shorter."""
    axis, parts = node.attribute("axis", 0), node.attribute("num_outputs", len(node.outputs))

    def compute(x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        return torch.split(x, integers(lengths) if lengths is not None else -(-x.shape[axis] // parts), axis)

    return compute


@LOWERINGS.lowering("Slice", on_host=(1, 2, 3, 4))
def slice_(node: Node) -> Compute:
    """Ranges along axes, with Python's meaning of negative and of too large bounds; steps forward only."""

    def compute(
        x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
    ) -> Tensor:
        along = integers(axes) if axes is not None else range(starts.numel())
        strides = integers(steps) if steps is not None else [1] * starts.numel()
        if any(stride < 1 for stride in strides):
            raise node.unsupported("a backward step")
        ranges = [slice(None)] * x.ndim
        for axis, start, end, stride in zip(along, integers(starts), integers(ends), strides, strict=True):
            ranges[axis] = slice(start, end, stride)
        return x[tuple(ranges)]

    return compute


@LOWERINGS.lowering("Gather")
def gather(node: Node) -> Compute:
    """Entries along an axis by their indices, of which negative ones count from the end."""
    axis = node.attribute("axis", 0)

    def compute(x: Tensor, indices: Tensor) -> Tensor:
        before = x.shape[: axis % x.ndim]
        after = x.shape[axis % x.ndim + 1 :]
        # Indexing with a 0-d tensor would read it on the host.
        found = x[(*[slice(None)] * len(before), indices.reshape(-1))]
        return found.reshape((*before, *indices.shape, *after))

    return compute


@LOWERINGS.lowering("GatherND")
def gather_nd(node: Node) -> Compute:
    """Entries `x[i, j, ...]` by the index vectors along the last axis of `indices`."""
    node.only("batch_dims", 0)

    def compute(x: Tensor, indices: Tensor) -> Tensor:
        depth = indices.shape[-1]
        found = x[indices.reshape(-1, depth).unbind(-1)]
        return found.reshape((*indices.shape[:-1], *x.shape[depth:]))

    return compute


@LOWERINGS.lowering("Pad", on_host=(1, 3))
def pad(node: Node) -> Compute:
    """A constant around the axes given, or around all."""
    node.only("mode", "constant")

    def compute(x: Tensor, pads: Tensor, fill: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
        along = integers(axes) if axes is not None else list(range(x.ndim))
        widths = [(0, 0)] * x.ndim
        amounts = integers(pads)
        for axis, before, after in zip(along, amounts[: len(along)], amounts[len(along) :], strict=True):
            widths[axis] = before, after
        padded = torch_pad(x, [width for pair in reversed(widths) for width in pair])
        if fill is None:
            return padded
        inside = torch_pad(torch.ones_like(x, dtype=torch.bool), [width for pair in reversed(widths) for width in pair])
        return torch.where(inside, padded, fill)

    return compute


@LOWERINGS.lowering("Resize", on_host=(2, 3))
def resize(node: Node) -> Compute:
    """Each pixel of `[N, C, h, w]` repeated a whole number of times: what both of these conventions amount to then."""
    convention = (
        node.attribute("coordinate_transformation_mode", "half_pixel"),
        node.attribute("nearest_mode", "round_prefer_floor"),
    )
    if convention not in (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")):
        raise node.unsupported(f"the convention {convention}")
    if node.attribute("mode", "nearest") != "nearest":
        raise node.unsupported("an interpolation")
    for name in ("antialias", "exclude_outside"):
        node.only(name, 0)
    node.only("keep_aspect_ratio_policy", "stretch")
    node.without_effect("cubic_coeff_a", "extrapolation_value")  # of interpolations and of crops

    def compute(x: Tensor, roi: None, scales: Tensor | None = None, sizes: Tensor | None = None) -> Tensor:
        if sizes is not None:
            target = integers(sizes)
        else:
            assert scales is not None
            target = [int(dim * scale) for dim, scale in zip(x.shape, scales.tolist(), strict=True)]
        if x.ndim != 4 or target[:2] != list(x.shape[:2]) or any(target[axis] % x.shape[axis] for axis in (2, 3)):
            raise node.unsupported(f"a change from {tuple(x.shape)} to {tuple(target)}")
        return interpolate(x, size=target[2:], mode="nearest")

    return compute
