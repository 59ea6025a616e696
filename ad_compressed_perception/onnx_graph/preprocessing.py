# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Move preprocessing into the graph: the input is the camera's uint8 image, channels last, BGR.

With factor a = scale / std and shift b = -mean / std of each channel, the network's former input,
x = a p + b for a pixel p, is computed in the graph. The factor goes into the first convolution's weights,
W'[o, c] = a[c] W[o, c]. The shift goes into its bias, B'[o] = B[o] + sum_c,y,x W[o, c, y, x] b[c],
only where no zero padding comes in between: a padded zero stands for x = 0, and a bias is the same
at the border and inside. Elsewhere b / a is added to the pixels before the padding. A color
order that differs from the camera's is a permutation of the weights' input channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.manifest import InputSpec
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.onnx_graph.first_convolutions import FirstConvolution
from ad_compressed_perception.onnx_graph.graph import Graph


@dataclass(frozen=True)
class Affine:
    """x = factor * pixel + shift, per channel of the input; float64 arrays of (C,)."""

    factor: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def of(cls, spec: InputSpec) -> Affine:
        """Return an input's normalization."""
        std = np.resize(np.asarray(spec.std, np.float64), spec.channels)
        mean = np.resize(np.asarray(spec.mean, np.float64), spec.channels)
        return cls(spec.scale / std, -mean / std)


def bytes_of(feeds: Feeds, spec: InputSpec, swap: bool) -> Feeds:
    """Return the pixels of a normalized input, (1, H, W, C) uint8; exact for 8-bit frames."""
    ((name, tensor),) = feeds.items()
    pixels = tensor.astype(np.float64)
    if spec.layout == "NCHW":
        pixels = pixels.transpose(0, 2, 3, 1)
    affine = Affine.of(spec)
    pixels = np.rint((pixels - affine.shift) / affine.factor).clip(0, 255)
    if swap:
        pixels = pixels[..., ::-1]
    return {name: np.ascontiguousarray(pixels, np.uint8)}


def fold_into(graph: Graph, sites: list[FirstConvolution], affine: Affine, swap: bool) -> Affine:
    """Fold into the convolutions what they can take; return the normalization left to do before them."""
    has_shift = bool(np.any(affine.shift != 0.0))
    into_bias = has_shift and not any(site.is_padded for site in sites)
    if not has_shift and not swap and np.all(affine.factor == 1.0):
        return affine
    for site in sites:
        channels = np.array([channel for _, channel in site.positions])
        weight = graph.constant_input(site.node, 1)
        assert weight is not None  # find_first_convolutions saw it
        exact = weight.astype(np.float64)
        if into_bias:
            added = (exact * affine.shift[channels][None, :, None, None]).sum(axis=(1, 2, 3))
            bias = graph.constant_input(site.node, 2)
            total = (added if bias is None else bias + added).astype(weight.dtype)
            inputs = [*site.node.input[:2], graph.add_constant(f"{site.node.input[1]}_bias", total)]
            del site.node.input[:]
            site.node.input.extend(inputs)
        exact = exact * affine.factor[channels][None, :, None, None]
        if swap:
            exact = exact[:, [site.mirrored(index) for index in range(len(channels))]]
        site.node.input[1] = graph.add_constant(f"{site.node.input[1]}_bytes", exact.astype(weight.dtype))
    ones = np.ones_like(affine.factor)
    return Affine(ones, np.zeros_like(ones) if into_bias else affine.shift / affine.factor)


def prepend_preprocessing(graph: Graph, name: str, spec: InputSpec, rest: Affine) -> None:
    """Make the input uint8, channels last, and connect it to the former input's consumers."""
    from onnx import TensorProto, helper

    model = graph.model
    floats = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[spec.dtype]
    nodes = []
    last = name

    def append(operator: str, inputs: list[str], **attributes: Any) -> None:
        nonlocal last
        last = graph.new_name(f"{name}_{operator.lower()}")
        nodes.append(
            helper.make_node(operator, inputs, [last], graph.new_name(f"input_{operator}"), **attributes)
        )

    if spec.layout == "NCHW":
        # Before the cast: moving bytes costs a quarter of moving floats.
        append("Transpose", [last], perm=[0, 3, 1, 2])
    append("Cast", [last], to=floats)
    shape = (1, -1, 1, 1) if spec.layout == "NCHW" else (1, 1, 1, -1)
    for operator, values, neutral in (("Mul", rest.factor, 1.0), ("Add", rest.shift, 0.0)):
        if np.any(values != neutral):
            constant = values.astype(spec.dtype).reshape(shape)
            append(operator, [last, graph.add_constant(f"input_{operator.lower()}", constant)])
    graph.replace_uses(name, last)
    for offset, node in enumerate(nodes):
        model.graph.node.insert(offset, node)
    tensor_type = model.graph.input[0].type.tensor_type
    tensor_type.elem_type = TensorProto.UINT8
    tensor_type.ClearField("shape")
    for size in (1, spec.height, spec.width, spec.channels):
        tensor_type.shape.dim.add().dim_value = size
