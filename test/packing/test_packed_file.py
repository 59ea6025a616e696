# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Packed model files are lossless, small where weights repeat, and raise a clear error when damaged."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.packing.decompress import decompress
from ad_compressed_perception.packing.packed_file import expand
from ad_compressed_perception.packing.packed_file_writer import pack, pack_bytes
from ad_compressed_perception.packing.stream_writer import encode, pack_bits
from ad_compressed_perception.packing.streams import Stream, decode, unpack_bits
from ad_compressed_perception.packing.tensor_writer import encode_values
from ad_compressed_perception.packing.tensors import decode_values


def net(weights: NDArray[np.float32]) -> onnx.ModelProto:
    """Return a 1x1 convolution with these (out, in) weights and a bias of ones."""
    out, channels = weights.shape
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, out, 4, 4])],
        [
            numpy_helper.from_array(weights.reshape(out, channels, 1, 1), "w"),
            numpy_helper.from_array(np.ones(out, np.float32), "b"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def gaussian(seed: int = 0, shape: tuple[int, int] = (64, 64)) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@given(st.integers(1, 8).flatmap(lambda b: st.tuples(st.just(b), st.lists(st.integers(0, 2**b - 1)))))
def test_indices_of_any_bit_width_round_trip(drawn: tuple[int, list[int]]) -> None:
    bits, symbols = drawn
    indices = np.array(symbols, np.uint8)
    packed = pack_bits(indices, bits)
    assert len(packed) == -(-len(symbols) * bits // 8), "no more than the bits, rounded up to a byte"
    np.testing.assert_array_equal(unpack_bits(packed, bits, len(symbols)), indices)


@given(st.binary(max_size=2000))
def test_every_stream_round_trips_and_is_never_longer(data: bytes) -> None:
    stream, stored = encode(data)
    assert len(stored) <= len(data)
    assert decode(stream, stored) == data


def test_a_stream_never_decodes_to_more_than_its_length() -> None:
    """A few kilobytes that would decompress to ten megabytes are refused."""
    stream, stored = encode(bytes(10**7))
    lying = Stream(codec=stream.codec, stored=stream.stored, length=1000)
    with pytest.raises(ModelFileError, match="instead of 1000"):
        decode(lying, stored)


VALUES = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16, np.uint32, np.uint64]),
    st.integers(0, 300),
    elements=st.sampled_from([0, 1, 2, 3, 77, 255]),
)


@settings(deadline=None)
@given(VALUES, st.integers(1, 7), st.booleans())
def test_values_round_trip_in_every_encoding(
    words: NDArray[np.unsignedinteger], channels: int, diverse: bool
) -> None:
    """Diverse values are stored plain, few distinct ones with a codebook, zeros with a mask."""
    if diverse:
        words = words + (np.arange(words.size) % 256).astype(words.dtype)
    code, streams = encode_values(words, channels)
    queue = list(streams)
    back = decode_values(code, lambda stream: decode(stream, queue.pop(0)))
    assert not queue
    np.testing.assert_array_equal(back, words)


@pytest.mark.parametrize("group", [1, 2, 8, 64])
def test_codebooks_of_groups_are_detected(group: int) -> None:
    """Sixteen values for every `group` of 64 channels: about 4 bits a weight, plus the codebooks."""
    rng = np.random.default_rng(group)
    entries = rng.standard_normal((64 // group, 16)).astype(np.float32)
    picked = rng.integers(0, 16, (64, 512))
    weights = np.stack([entries[row // group][picked[row]] for row in range(64)])
    size = len(pack_bytes(net(weights)))
    codebooks = entries.size * 4
    assert size < weights.size / 2 * 1.05 + codebooks + 2000


def test_half_of_the_weights_zero_take_half_the_space() -> None:
    weights = gaussian(1)
    dense = len(pack_bytes(net(weights)))
    weights[np.abs(weights) < np.median(np.abs(weights))] = 0.0
    sparse = len(pack_bytes(net(weights)))
    # Half of the values and one bit for each: 0.5 + 1/32 of the plain file at most, plus the graph.
    assert sparse < 0.55 * dense + 500


def test_the_decompressed_model_is_identical_bit_for_bit(tmp_path: Path) -> None:
    weights = gaussian(2)
    weights[0, :6] = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-44]
    model = net(weights)
    path = tmp_path / "net.adcpz"
    assert pack(model, path) == path.stat().st_size
    back = expand(path)
    for before, after in zip(model.graph.initializer, back.graph.initializer, strict=True):
        assert before.name == after.name
        a, b = numpy_helper.to_array(before), numpy_helper.to_array(after)
        np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32))
    assert back.graph.node == model.graph.node
    assert pack_bytes(model) == path.read_bytes(), "the same model gives the same file"


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_backends_load_a_packed_file(tmp_path: Path, backend: str) -> None:
    if not create_backend(backend).status().available:
        pytest.skip(f"{backend} is not installed")
    model = net(gaussian(3))
    onnx.save(model, str(tmp_path / "net.onnx"))
    pack(model, tmp_path / "net.adcpz")
    x = np.random.default_rng(0).standard_normal((1, 64, 4, 4)).astype(np.float32)
    outputs = []
    for name in ("net.onnx", "net.adcpz"):
        session = create_backend(backend).load(tmp_path / name, {})
        outputs.append(session.infer({"x": x})["y"])
        session.close()
    np.testing.assert_array_equal(*outputs)


def test_a_file_is_expanded_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "net.adcpz"
    pack(net(gaussian(4)), path)
    first = decompress(path)
    assert decompress(path) == first
    pack(net(gaussian(5, (32, 64))), path)
    second = decompress(path)
    assert second != first
    assert onnx.load(str(second)).graph.initializer[0].dims[0] == 32
    assert decompress(second) == second, "what is no packed file is left as it is"


def test_decompressed_files_are_removed_with_their_process(tmp_path: Path) -> None:
    path = tmp_path / "net.adcpz"
    pack(net(gaussian(6)), path)
    code = (
        "import sys; from pathlib import Path\n"
        "from ad_compressed_perception.packing.decompress import decompress\n"
        "print(decompress(Path(sys.argv[1])))"
    )
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(temporary) in done.stdout
    assert list(temporary.iterdir()) == []


def test_a_damaged_file_is_one_clear_error(tmp_path: Path) -> None:
    """Truncated anywhere, or one byte changed anywhere: an error that names the file, or the same model."""
    whole = pack_bytes(net(gaussian(7)))
    path = tmp_path / "net.adcpz"
    for length in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match=r"net\.adcpz"):
            expand(path)
    expected = expand_bytes(tmp_path, whole)
    for place in range(0, len(whole), len(whole) // 80):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            # A few bytes of a ZIP archive mean nothing (dates, host system).
            assert expand(path) == expected
        except ModelFileError as error:
            assert "\n" not in str(error)


def expand_bytes(folder: Path, content: bytes) -> onnx.ModelProto:
    path = folder / "whole.adcpz"
    path.write_bytes(content)
    return expand(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((b'"adcp-packed/1"', b'"adcp-packed/9"'), "adcp-packed/9"),
        ((b'"stored":', b'"st0red":'), "st0red"),
        ((b'"weights":[0]', b'"weights":[9]'), "no weight 9"),
    ],
)
def test_an_inconsistent_index_is_refused(tmp_path: Path, change: tuple[bytes, bytes], words: str) -> None:
    good, bad = tmp_path / "good.adcpz", tmp_path / "bad.adcpz"
    pack(net(gaussian(8)), good)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data.replace(*change) if name == "index.json" else data)
    with pytest.raises(ModelFileError, match=words):
        expand(bad)


def test_a_missing_file_and_another_file_format_raise(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no model file"):
        expand(tmp_path / "none.adcpz")
    (tmp_path / "text.adcpz").write_text("not a model")
    with pytest.raises(ModelFileError, match="not a packed model"):
        expand(tmp_path / "text.adcpz")
