# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The backend ``remote`` against a server that stalls, lies and dies, and against a real MLServer."""

from __future__ import annotations

import gc
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.base import Session, SessionInfo
from ad_compressed_perception.backends.strict import refuse_fallback
from ad_compressed_perception.core.errors import BackendError, ModelFileError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.model_files import is_this_computer
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.inference_servers import (  # skips without tritonclient
    BlackHole,
    LyingService,
    ServerProcess,
    free_port,
    lying_server,
    mlserver,
    with_value,
)
from support.models import write_detector
from support.onnx_files import feed, write_int8, write_two_convolutions

Server = tuple[LyingService, str]
PATIENT = {"deadline_ms": 10_000.0, "load_deadline_ms": 30_000.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_convolutions(tmp_path_factory.mktemp("models") / "model.onnx")


@pytest.fixture
def server(model: Path) -> Iterator[Server]:
    with lying_server(model) as made:
        yield made


def load(model: Path, url: str, **options: Any) -> Session:
    return create_backend("remote").load(model, {"url": url, "model_name": "model", **PATIENT, **options})


def local(model: Path, seed: int = 0) -> np.ndarray:
    return create_backend("onnxruntime").load(model, {}).infer({"x": feed(seed)})["y"]


def test_a_server_answers_as_the_local_file_does(model: Path, server: Server) -> None:
    _, url = server
    session = load(model, url)
    first = session.infer({"x": feed(0)})["y"]
    kept = first.copy()
    session.infer({"x": feed(1)})

    # The same runtime on the same computer computes the same bits.
    np.testing.assert_array_equal(first, local(model))
    np.testing.assert_array_equal(first, kept)
    first[0] = 0.0  # decoders may write into it
    info = session.info
    assert (info.requested_provider, info.provider) == (f"{url}/model", f"{url}/model")
    assert (info.precision, info.integer_coverage, info.threads) == ("unknown", None, 0)
    assert info.inputs[0].shape == (1, 3, 16, 16)
    with pytest.raises(BackendError, match="not known"):
        session.layers()
    session.close()


LIES = {
    "NaN": (lambda a: with_value(a, float("nan")), "not finite"),
    "infinite": (lambda a: with_value(a, -float("inf")), "not finite"),
    "another shape": (lambda a: _set(a, shape=[1, 4, 8, 32]), r"FP32.*\[1, 4, 8, 32\].*\[1, 4, 16, 16\]"),
    "another rank": (lambda a: _set(a, shape=[4, 16, 16]), r"\[4, 16, 16\]"),
    "a negative size": (lambda a: _set(a, shape=[-1, -4, 16, 16]), r"\[-1"),
    "another type": (lambda a: _set(a, datatype="FP16"), "FP16"),
    "an unheard-of type": (lambda a: _set(a, datatype="\x1b[31m" * 99), "x1b"),
    "another name": (lambda a: _set(a, name="z"), "'z'"),
    "half of the bytes": (lambda a: _cut(a), "2048 bytes, not 4096"),
    "no bytes": (lambda a: _clear(a, "raw_output_contents"), "0 raw contents"),
    "no outputs": (lambda a: _clear(a, "outputs", "raw_output_contents"), "none"),
    "an output twice": (lambda a: _twice(a), "'y'; 'y'"),
    "another model": (lambda a: _field(a, model_name="other"), "'other'"),
    "another version": (lambda a: _field(a, model_version="2"), "version '2', not '1'"),
    "another request": (lambda a: _field(a, id="77"), "request 77, not"),
    "larger than max_bytes": (lambda a: _field(a, id="x" * (9 << 20)), "max_bytes"),
}


def _field(answer: Any, **values: Any) -> Any:
    for key, value in values.items():
        setattr(answer, key, value)
    return answer


def _set(answer: Any, shape: list[int] | None = None, **values: Any) -> Any:
    if shape is not None:
        del answer.outputs[0].shape[:]
        answer.outputs[0].shape.extend(shape)
    _field(answer.outputs[0], **values)
    return answer


def _cut(answer: Any) -> Any:
    answer.raw_output_contents[0] = answer.raw_output_contents[0][:2048]
    return answer


def _clear(answer: Any, *names: str) -> Any:
    for name in names:
        answer.ClearField(name)
    return answer


def _twice(answer: Any) -> Any:
    answer.outputs.append(answer.outputs[0])
    answer.raw_output_contents.append(answer.raw_output_contents[0])
    return answer


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_is_not_the_model_s_is_an_error_and_the_next_one_counts_again(
    model: Path, server: Server, lie: str
) -> None:
    service, url = server
    session = load(model, url, max_bytes=1 << 20)
    change, message = LIES[lie]
    service.change_answer = change
    # A call that is only late, as on a busy computer, shows nothing.
    found = _until(lambda: _error(session), lambda text: "did not answer within" not in text)
    assert re.search(message, found), found
    assert url in found
    assert "\n" not in found

    service.change_answer = lambda answer: answer
    _until(lambda: _error(session), lambda text: not text)
    np.testing.assert_array_equal(session.infer({"x": feed()})["y"], local(model))
    session.close()


def test_a_compressed_answer_counts_by_what_it_expands_to(model: Path, server: Server) -> None:
    """64 MB of zeros are 64 kB on the wire; the limit is there for this computer's memory."""
    service, url = server
    session = load(model, url, max_bytes=1 << 20)
    service.compress = True
    service.change_answer = lambda answer: _field(answer, id="0" * (64 << 20))

    with pytest.raises(BackendError, match="max_bytes"):
        session.infer({"x": feed()})
    session.close()


def test_a_call_past_its_deadline_ends_then(model: Path, server: Server) -> None:
    service, url = server
    session = load(model, url, deadline_ms=300.0)
    service.change_answer = service.stall
    start = time.monotonic()
    with pytest.raises(BackendError, match="did not answer within 300 ms"):
        session.infer({"x": feed()})
    # The server stalls for a minute; a loaded machine may take some of the difference.
    assert time.monotonic() - start < 20.0
    session.close()


DESCRIPTIONS = {
    "another input name": (lambda d: _rename(d.inputs[0], "image"), "inputs 'image'; the local file has x"),
    "another input type": (lambda d: _retype(d.inputs[0], "UINT8"), "UINT8"),
    "another input size": (lambda d: _reshape(d.inputs[0], [1, 3, 32, 32]), r"\[1, 3, 32, 32\]"),
    "another rank": (lambda d: _reshape(d.inputs[0], [3, 16, 16]), r"\[3, 16, 16\]"),
    "another output size": (lambda d: _reshape(d.outputs[0], [1, 80, 16, 16]), r"\[1, 80, 16, 16\]"),
    "a further output": (lambda d: d.outputs.append(d.outputs[0].__class__(name="boxes")), "'boxes'; 'y'"),
    "no outputs": (lambda d: d.ClearField("outputs"), "does not describe"),
}


def _rename(tensor: Any, name: str) -> None:
    tensor.name = name


def _retype(tensor: Any, datatype: str) -> None:
    tensor.datatype = datatype


def _reshape(tensor: Any, shape: list[int]) -> None:
    del tensor.shape[:]
    tensor.shape.extend(shape)


@pytest.mark.parametrize("difference", DESCRIPTIONS)
def test_a_server_that_describes_another_model_is_refused_at_loading(
    model: Path, server: Server, difference: str
) -> None:
    service, url = server
    change, message = DESCRIPTIONS[difference]

    def changed(description: Any) -> Any:
        change(description)
        return description

    service.change_description = changed
    with pytest.raises(BackendError, match=message):
        load(model, url)
    assert service.calls == 0, "no image was sent to it"


def test_a_server_s_dynamic_sizes_fit_any_of_the_file(model: Path, server: Server) -> None:
    service, url = server

    def dynamic(description: Any) -> Any:
        _reshape(description.inputs[0], [-1, 3, -1, -1])
        return description

    service.change_description = dynamic
    assert load(model, url).info.inputs[0].shape == (1, 3, 16, 16)


def test_other_weights_of_the_same_shapes_are_found(tmp_path: Path, server: Server) -> None:
    """Names and shapes are equal; every result would be wrong without an error."""
    import onnx
    from onnx import numpy_helper

    _, url = server
    path = write_two_convolutions(tmp_path / "other.onnx")
    other = onnx.load(path)
    weight = next(one for one in other.graph.initializer if one.name == "w2")
    rng = np.random.default_rng(9)
    changed = rng.normal(0, 0.2, numpy_helper.to_array(weight).shape).astype(np.float32)
    weight.CopyFrom(numpy_helper.from_array(changed, "w2"))
    onnx.save(other, path)
    with pytest.raises(BackendError, match=r"'y' is not that of the local file \(concordance"):
        load(path, url)
    load(path, url, min_cosine=0.0).close()


def test_a_quantized_server_of_the_same_model_is_no_other_model(tmp_path: Path, model: Path) -> None:
    """8 bits on the server, floats in the local file: they differ on noise by quantization only."""
    with lying_server(write_int8(model, tmp_path / "int8.onnx")) as (_, url):
        load(model, url).close()


@pytest.mark.parametrize("change", [lambda y: 2.0 * y, lambda y: y + 1.0], ids=["doubled", "shifted"])
def test_another_scale_or_mean_is_another_model(
    model: Path, server: Server, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Failed before: a cosine less the mean is 1 for both, and a plan at twice the speed passed."""
    service, url = server

    def changed(answer: Any) -> Any:
        array = change(np.frombuffer(answer.raw_output_contents[0], np.float32))
        answer.raw_output_contents[0] = array.astype(np.float32).tobytes()
        return answer

    service.change_answer = changed
    with pytest.raises(BackendError, match="not that of the local file"):
        load(model, url)


def test_a_connection_that_takes_its_time_is_a_connection(model: Path, server: Server) -> None:
    """0.3 s, as with TLS over a radio link or on a busy computer. Failed before: an attempt had 0.1 s."""
    way = BlackHole(server[1], delay_s=0.3)
    try:
        load(model, way.url).close()
    finally:
        way.close()


def test_another_server_between_two_frames_is_compared_first(tmp_path: Path, model: Path) -> None:
    """Nobody called while it was exchanged. Failed before: gRPC connects again, and no call ever failed."""
    first = ServerProcess(model)
    first.start()
    session = load(model, first.url)
    session.infer({"x": feed()})
    first.kill()
    second = ServerProcess(write_two_convolutions(tmp_path / "other.onnx", denormals=200))
    second.port = first.port
    second.start()
    try:
        found = _until(lambda: _error(session), lambda text: "cannot be reached" not in text)
        assert "not that of the local file" in found
    finally:
        session.close()
        second.kill()


def test_another_model_in_place_of_the_one_that_died_is_found(tmp_path: Path, model: Path) -> None:
    """Failed before: after the restart the connection was used as if nothing had happened."""
    first = ServerProcess(model)
    first.start()
    session = load(model, first.url)
    try:
        first.kill()
        with pytest.raises(BackendError, match="cannot be reached"):
            session.infer({"x": feed()})
        other = write_two_convolutions(tmp_path / "other.onnx", denormals=200)  # another first layer
        second = ServerProcess(other)
        second.port = first.port
        second.start()
        try:
            found = _until(lambda: _error(session), lambda text: "cannot be reached" not in text)
            assert "not that of the local file" in found
        finally:
            second.kill()
        first.start()
        assert _until(lambda: _error(session), lambda text: not text) == ""
        np.testing.assert_array_equal(session.infer({"x": feed()})["y"], local(model))
    finally:
        session.close()
        first.kill()


def _error(session: Session) -> str:
    try:
        session.infer({"x": feed()})
    except BackendError as error:
        return str(error)
    return ""


def _until(ask: Any, fits: Any) -> Any:
    end = time.monotonic() + 60.0
    while not fits(found := ask()):
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found


def test_a_connection_that_swallows_everything_is_replaced(model: Path, server: Server) -> None:
    """A cable that was pulled closes nothing: TCP would try for a quarter of an hour."""
    _, url = server
    way = BlackHole(url)
    session = load(model, way.url, deadline_ms=1000.0)
    try:
        connections = way.connections
        way.swallow()
        assert "did not answer" in _error(session)
        _until(lambda: _error(session), lambda text: not text)
        assert way.connections > connections
    finally:
        session.close()
        way.close()


def test_without_a_server_loading_is_refused_or_every_frame_is(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"127.0.0.1:{free_port()}"
    start = time.monotonic()
    with pytest.raises(BackendError, match="cannot load.*cannot be reached"):
        load(model, url)
    assert time.monotonic() - start < 30.0
    with caplog.at_level(logging.WARNING):
        session = load(model, url, must_answer=False)
    assert "does not answer yet" in caplog.text
    assert session.info.inputs[0].name == "x"
    assert "cannot be reached" in _error(session)
    session.close()


def test_a_model_that_the_server_does_not_have_is_named(model: Path, server: Server) -> None:
    with pytest.raises(BackendError, match="NOT_FOUND: no model 'absent' here"):
        load(model, server[1], model_name="absent", must_answer=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "url"),
        ({"url": "http://lab:8001"}, "pattern"),
        ({"url": "lab"}, "pattern"),
        ({"url": "lab:8001"}, "model_name"),
        ({"url": "lab:8001", "model_name": "m"}, "unencrypted.*tls: true"),
        ({"url": "127.evil.com:8001", "model_name": "m"}, "unencrypted"),
        ({"url": "localhost:1", "model_name": "m", "tls_client_key": "k"}, "needs tls"),
        ({"url": "lab:1", "model_name": "m", "tls": True, "tls_root_certificate": "no.pem"}, "no.pem"),
        ({"url": "localhost:1", "model_name": "m", "deadline_ms": 0}, "deadline_ms"),
        ({"url": "localhost:99999", "model_name": "m"}, "99999 is no port"),  # gRPC would take 34463
        ({"url": "localhost:1", "model_name": "m", "max_bytes": 2048}, "needs messages of 8192 bytes"),
    ],
)
def test_wrong_options_are_named(model: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BackendError, match=message) as caught:
        create_backend("remote").load(model, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("localhost:1", True),
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("127.evil.com:1", False),
        ("localhost.evil.com:1", False),
        ("10.0.0.2:1", False),
        ("0.0.0.0:1", False),
    ],
)
def test_what_is_this_computer(url: str, is_here: bool) -> None:
    assert is_this_computer(url) is is_here


@pytest.mark.parametrize(
    "options", [{"url": "evil.com:8001"}, {"url": "localhost:1", "allow_plaintext": True}]
)
def test_a_manifest_cannot_send_images_to_another_computer(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = write_detector(tmp_path / "model")
    manifest = load_manifest(folder)
    variant = manifest.variants["fp32"].model_copy(update={"backend": "remote", "options": options})
    save_manifest(manifest.model_copy(update={"variants": {"fp32": variant}}), folder)
    with pytest.raises(ModelFileError, match="would send the camera's images"):
        load_manifest(folder).checked_path("fp32")
    load_manifest(folder, allow_outside=True).checked_path("fp32")


def test_no_proxy_of_the_environment_gets_images(
    model: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GRPC takes one by default, also on the way to this computer itself."""
    from tritonclient import grpc as triton

    for name in ("http_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(triton.InferenceServerException):
        triton.InferenceServerClient(server[1]).get_server_metadata(client_timeout=10.0)
    load(model, server[1]).close()


def test_tls_checks_both_sides(tmp_path: Path, model: Path) -> None:
    """The server's certificate by the named authority only, the client's by the server."""
    import grpc

    authority, other = _authority(tmp_path / "one"), _authority(tmp_path / "two")
    key, certificate = _signed(authority, tmp_path / "server")
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())], authority[1].read_bytes(), True
    )
    client = dict(
        zip(
            ("tls_client_key", "tls_client_certificate"),
            map(str, _signed(authority, tmp_path / "c")),
            strict=True,
        )
    )
    options = {"tls": True, "tls_root_certificate": str(authority[1]), **client}
    with lying_server(model, credentials) as (_, url):
        session = load(model, url, **options)
        np.testing.assert_array_equal(session.infer({"x": feed()})["y"], local(model))
        session.close()
        for wrong in (
            {"tls_root_certificate": str(other[1])},
            {"tls_client_key": None, "tls_client_certificate": None},
        ):
            with pytest.raises(BackendError, match="cannot be reached"):
                load(model, url, **{**options, **wrong})
        with pytest.raises(BackendError, match="cannot be reached"):
            load(model, url)


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path, model: Path) -> None:
    """Failed before: they passed for a server that cannot be reached, waited for without must_answer.

    An empty file of authorities stood for the public ones.
    """
    authority = _authority(tmp_path / "one")
    key, certificate = _signed(authority, tmp_path / "c")
    empty, junk = tmp_path / "empty.pem", tmp_path / "junk.pem"
    empty.write_text("")
    junk.write_bytes(b"no certificate \xff")
    pair = {"tls_client_key": str(key), "tls_client_certificate": str(certificate)}
    wrong = [
        ("tls_root_certificate", {"tls_root_certificate": str(empty)}),
        ("tls_root_certificate", {"tls_root_certificate": str(junk)}),
        ("tls_root_certificate", {"tls_root_certificate": str(key)}),
        ("tls_client_certificate", {**pair, "tls_client_key": str(authority[0])}),
        ("tls_client_certificate", {**pair, "tls_client_certificate": str(junk)}),
    ]
    for name, options in wrong:
        with pytest.raises(BackendError, match=f"{name}: /.*no usable certificate") as refused:
            load(model, "127.0.0.1:1", tls=True, must_answer=False, **options)
        assert "\n" not in str(refused.value)


def _authority(folder: Path) -> tuple[Path, Path]:
    folder.mkdir()
    key, certificate = folder / "ca.key", folder / "ca.pem"
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")(
        "-subj", f"/CN={folder.name}", "-keyout", key, "-out", certificate
    )
    return key, certificate


def _signed(authority: tuple[Path, Path], folder: Path) -> tuple[Path, Path]:
    folder.mkdir()
    key, request, certificate, more = (folder / name for name in ("key", "csr", "pem", "ext"))
    more.write_text("subjectAltName=IP:127.0.0.1\n")
    _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=any")(
        "-keyout", key, "-out", request
    )
    _openssl("x509", "-req", "-days", "2", "-CAcreateserial", "-CA", authority[1], "-CAkey", authority[0])(
        "-in", request, "-extfile", more, "-out", certificate
    )
    return key, certificate


def _openssl(*first: Any) -> Any:
    import shutil
    import subprocess

    if shutil.which("openssl") is None:
        pytest.skip("certificates are made by openssl, which is not installed")

    def run(*more: Any) -> None:
        subprocess.run(["openssl", *map(str, (*first, *more))], check=True, capture_output=True)

    return run


def test_reopened_sessions_leave_nothing_behind(model: Path, server: Server) -> None:
    _, url = server
    process = psutil.Process()
    for _ in range(10):
        load(model, url).close()
    gc.collect()
    files, threads, memory = process.num_fds(), process.num_threads(), process.memory_info().rss
    for _ in range(50):
        load(model, url).close()
    gc.collect()
    time.sleep(0.5)  # closed connections are closed in gRPC's own threads
    # gRPC keeps pools of threads; fifty sessions that left one each would be seen.
    assert process.num_fds() - files < 20
    assert process.num_threads() - threads < 20
    assert process.memory_info().rss - memory < 30e6


def test_an_unknown_precision_is_no_other_one() -> None:
    info = SessionInfo("remote", "", "a:1/m", "a:1/m", "unknown", 0, None, 0.0, 0.0, (), ())
    refuse_fallback(info, None)
    for stated in ("int8", "fp32"):
        with pytest.raises(BackendError, match=f"in unknown here, its manifest says {stated}"):
            refuse_fallback(info, stated)


def test_a_real_mlserver(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A server of somebody else's: names, types and raw contents as the protocol has them."""
    path = write_two_convolutions(tmp_path / "model.onnx")
    caplog.set_level(logging.INFO)
    with mlserver(tmp_path / "served", path) as url:
        options = {"model_name": "detector"}
        session = load(path, url, model_version="v3", **options)
        np.testing.assert_allclose(session.infer({"x": feed()})["y"], local(path), atol=1e-5)
        assert "served by mlserver" in caplog.text
        assert session.info.provider == f"{url}/detector/v3"
        session.close()
        with pytest.raises(BackendError, match="v4"):
            load(path, url, model_version="v4", **options)
        other = write_two_convolutions(tmp_path / "other.onnx", batch="n")
        assert load(other, url, **options).info.inputs[0].shape == (1, 3, 16, 16)
    assert os.path.exists(path)
