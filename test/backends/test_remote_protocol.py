# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tensors come back from the protocol's messages as they were, and no message raises another error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from ad_compressed_perception.backends.local_reference import concordance
from ad_compressed_perception.backends.remote_protocol import (
    DATATYPES,
    agreed_tensors,
    fill_request,
    read_answer,
)
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.tensors import TensorSpec

messages = pytest.importorskip("tritonclient.grpc.service_pb2", exc_type=Exception)
FINITE = {"allow_nan": False, "allow_infinity": False}
ARRAYS = st.sampled_from(sorted(DATATYPES)).flatmap(
    lambda name: nps.arrays(
        name,
        nps.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
        elements=FINITE if name.startswith("float") else None,
    )
)


def spec_of(array: np.ndarray, name: str = "y") -> TensorSpec:
    return TensorSpec(name, array.shape, array.dtype.name)


def answer_of(request: Any) -> Any:
    """Return an answer whose outputs are a request's inputs."""
    response = messages.ModelInferResponse()
    for tensor, content in zip(request.inputs, request.raw_input_contents, strict=True):
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        response.raw_output_contents.append(content)
    return response


@given(first=ARRAYS, second=ARRAYS)
def test_tensors_come_back_as_they_were(first: np.ndarray, second: np.ndarray) -> None:
    feeds = {"a": first, "b": second[..., ::-1] if second.ndim else second}  # not contiguous
    specs = tuple(spec_of(array, name) for name, array in feeds.items())
    request = messages.ModelInferRequest()
    fill_request(request, specs, feeds)
    found = read_answer(answer_of(request), tuple(reversed(specs)), "it")
    assert list(found) == ["b", "a"]
    for name, array in feeds.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable


@given(
    array=nps.arrays("float32", (2, 3), elements={"allow_subnormal": False}),
    shape=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
    datatype=st.sampled_from([*DATATYPES.values(), "BYTES", "", "fp32"]) | st.text(max_size=20),
    name=st.text(max_size=10),
    content=st.binary(max_size=30),
    extra=st.integers(0, 2),
)
def test_whatever_a_server_says_is_an_array_of_the_model_s_or_a_backend_error(
    array: np.ndarray, shape: list[int], datatype: str, name: str, content: bytes, extra: int
) -> None:
    spec = TensorSpec("y", (2, 3), "float32")
    response = messages.ModelInferResponse()
    response.outputs.add(name=name, datatype=datatype, shape=shape)
    response.raw_output_contents.extend([content] * extra)
    good = messages.ModelInferResponse()
    good.outputs.add(name="y", datatype="FP32", shape=[2, 3])
    good.raw_output_contents.append(array.tobytes())
    for one in (response, good):
        try:
            found = read_answer(one, (spec,), "it")
        except BackendError as error:
            assert "\n" not in str(error)
            assert one is response or not np.isfinite(array).all()
        else:
            assert found["y"].shape == (2, 3)
            assert np.isfinite(found["y"]).all()


@given(
    ours=st.lists(st.none() | st.integers(1, 9), max_size=4),
    theirs=st.lists(st.integers(-1, 9), max_size=4),
)
def test_agreed_sizes_fit_both_sides(ours: list[int | None], theirs: list[int]) -> None:
    described = messages.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP32", shape=theirs)
    fits = len(ours) == len(theirs) and all(
        own is None or its == -1 or own == its for own, its in zip(ours, theirs, strict=True)
    )
    spec = TensorSpec("x", tuple(ours), "float32")
    if not fits:
        with pytest.raises(BackendError, match="it has input 'x' as"):
            agreed_tensors("input", [spec], [described], "it")
        return
    (agreed,) = agreed_tensors("input", [spec], [described], "it")
    for own, its, both in zip(ours, theirs, agreed.shape, strict=True):
        assert both == (own if own is not None else (None if its == -1 else its))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 1.0),
        ([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], 4 / 11),  # 2*2*2 / (2 + 8 + 3*4): scale and mean are others
        ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], 4 / 7),  # 2*2 / (2 + 2 + 3*1)
        ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], -1.0),
        ([5.0, 5.0], [5.0, 5.0], 1.0),
        ([1.0], [0.9], 0.9),
        ([0.0], [0.0], 1.0),
        ([5.0, 5.0], [5.0, 6.0], float("nan")),  # one of them is stuck
        ([1.0, float("nan")], [1.0, 2.0], float("nan")),
        ([], [], 1.0),
    ],
)
def test_the_concordance_of_outputs(one: list[float], other: list[float], expected: float) -> None:
    found = concordance(np.array(one), np.array(other))
    assert found == pytest.approx(expected, nan_ok=True)
    assert np.isnan(concordance(np.zeros(3), np.zeros(4)))
