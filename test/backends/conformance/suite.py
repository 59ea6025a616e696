# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What every backend must do: a class of tests, to subclass with the name of a backend.

What a backend cannot do stands in ``lacks``: name of the check, reason, and what the failure must say. Such
a check is run all the same, and fails where the lack is no longer true.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ad_compressed_perception.backends import Session, create_backend
from ad_compressed_perception.backends.choose_variant import missing_runtime
from ad_compressed_perception.core.errors import AdcpError, BackendError
from conformance.children import run_child
from conformance.measure import busy_threads, held, interrupted_after
from conformance.models import WEIGHTS_BYTES, WRITERS, Feeds, expected, feeds_for, model_for
from conformance.table import Lack

_FLIPS = 6
_REOPENINGS = 100
_MAX_LINE = 1000
_PRECISIONS = {"fp32", "fp16", "bf16", "int8", "int16", "mixed"}


def _declared(name: str, check: Callable[..., None], lack: Lack) -> Callable[..., None]:
    """Return a check that must fail as declared."""

    @wraps(check)
    def run(self: BackendConformance, *arguments: Any, **others: Any) -> None:
        try:
            check(self, *arguments, **others)
        except (AssertionError, AdcpError, pytest.fail.Exception) as failure:
            if not re.search(lack.shows, str(failure)):
                raise
            pytest.xfail(lack.reason)
        pytest.fail(f"{self.backend_name} is declared not to pass {name}, and passes: remove it from lacks")

    return run


class BackendConformance:
    """Subclass it as ``class TestMine(BackendConformance)`` with ``backend_name``; override what differs.

    Attributes:
        backend_name: as registered.
        runtime_module: the module that is blocked to see the backend without its runtime; None: no check.
        options: backend options of every load.
        lacks: checks that it does not pass.
        tolerance: largest error against the reference implementation, as a share of the output's range.
    """

    backend_name: ClassVar[str]
    runtime_module: ClassVar[str | None] = None
    options: ClassVar[Mapping[str, Any]] = {}
    lacks: ClassVar[Mapping[str, Lack]] = {}
    tolerance: ClassVar[float] = 1e-4

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Replace the checks that are declared not to pass; raise TypeError where one is not known."""
        super().__init_subclass__(**arguments)
        for name, lack in cls.lacks.items():
            check = getattr(cls, f"test_{name}", None)
            if check is None:
                raise TypeError(f"{cls.__name__}.lacks: the suite has no check {name!r}")
            setattr(cls, f"test_{name}", _declared(name, check, lack))

    @pytest.fixture(autouse=True, scope="class")
    def _folder(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
        request.cls.folder = tmp_path_factory.mktemp(self.backend_name)

    @pytest.fixture(autouse=True)
    def _opened(self) -> Iterator[None]:
        """Close what a check opened, also where it failed."""
        self.sessions: list[Session] = []
        yield
        for session in self.sessions:
            session.close()

    def convert(self, onnx_path: Path, folder: Path) -> Path:
        """Return an ONNX model as a file that the backend runs; override it for other formats."""
        return model_for(self.backend_name, onnx_path, folder)

    def source(self, kind: str) -> Path:
        """Return one of the suite's models as ONNX."""
        path: Path = self.folder / f"{kind}.onnx"  # type: ignore[attr-defined]
        return path if path.is_file() else WRITERS[kind](path)

    def file(self, kind: str) -> Path:
        """Return one of the suite's models as the backend reads it, made once."""
        self.need_runtime()
        made: Path = self.folder / f"{kind}.converted"  # type: ignore[attr-defined]
        if not made.is_file():
            made.write_text(str(self.convert(self.source(kind), self.folder)))  # type: ignore[attr-defined]
        return Path(made.read_text())

    def need_runtime(self) -> None:
        """Skip a check that needs the runtime where it is not installed."""
        missing = missing_runtime(self.backend_name)
        if missing:
            pytest.skip(f"{self.backend_name} is not installed: {missing}")

    def load(self, kind: str, **options: Any) -> Session:
        """Return a session of one of the suite's models, closed at the end of the check."""
        session = create_backend(self.backend_name).load(self.file(kind), {**self.options, **options})
        self.sessions.append(session)
        return session

    def agree(self, found: Mapping[str, Any], reference: Feeds, tolerance: float | None = None) -> None:
        """Compare outputs by name with those of the reference implementation."""
        assert found.keys() == reference.keys(), f"outputs {sorted(found)}, not {sorted(reference)}"
        limit = self.tolerance if tolerance is None else tolerance
        for name, values in reference.items():
            assert found[name].shape == values.shape, name
            assert found[name].dtype == values.dtype, f"{name} is {found[name].dtype}, not {values.dtype}"
            error = np.abs(found[name].astype(np.float64) - values.astype(np.float64)).max()
            assert error <= limit * float(np.ptp(values.astype(np.float64))), f"{name}: error {error:.3g}"

    def check(self, kind: str, tolerance: float | None = None, batch: int = 1, seed: int = 0) -> Session:
        """Run a model on random inputs and compare with the reference implementation."""
        session = self.load(kind)
        feeds = feeds_for(self.source(kind), seed, batch)
        self.agree(session.infer(feeds), expected(self.source(kind), feeds), tolerance)
        return session

    # What is computed.

    def test_outputs(self) -> None:
        """Another order of additions than the reference's: 1e-4 of the range."""
        self.check("plain")

    def test_channels_last(self) -> None:
        session = self.check("nhwc")
        assert session.info.inputs[0].shape == (1, 16, 12, 3)

    def test_bytes(self) -> None:
        """An image's bytes go in as they are; a runtime that wants floats would misread them."""
        session = self.check("uint8")
        assert session.info.inputs[0].dtype == "uint8"

    def test_half_precision(self) -> None:
        """27 products of 11 bits: 1 % of the range is far from a type that was misread."""
        session = self.check("half", tolerance=1e-2)
        assert session.info.inputs[0].dtype == session.info.outputs[0].dtype == "float16"

    def test_several_inputs_and_outputs(self) -> None:
        """Assigned by name: neither their order in the file nor that of their names is the feeds' order."""
        session = self.check("several")
        feeds = feeds_for(self.source("several"), 1)
        backwards = dict(reversed(feeds.items()))
        self.agree(session.infer(backwards), expected(self.source("several"), feeds))
        assert {spec.name: spec.shape for spec in session.info.inputs} == {
            name: values.shape for name, values in feeds.items()
        }

    def test_names_of_exporters(self) -> None:
        self.check("named")

    def test_dynamic_batch(self) -> None:
        session = self.check("dynamic", batch=2)
        assert session.info.inputs[0].shape[0] is None
        for batch in (1, 3, 2):
            feeds = feeds_for(self.source("dynamic"), batch, batch)
            self.agree(session.infer(feeds), expected(self.source("dynamic"), feeds))

    def test_dynamic_batch_is_not_silently_one(self) -> None:
        """A batch of two is computed or refused; the first image's result for both would be neither."""
        session = self.load("plain")
        feeds = feeds_for(self.source("dynamic"), 0, 2)
        with pytest.raises(BackendError, match="given"):
            session.infer(feeds)

    # What becomes of the arrays.

    def test_outputs_stay_valid(self) -> None:
        """After the next run, and after the session is closed."""
        session = self.load("plain")
        source = self.source("plain")
        first = session.infer(feeds_for(source, 0))
        kept = {name: values.copy() for name, values in first.items()}
        session.infer(feeds_for(source, 1))
        for name, values in kept.items():
            np.testing.assert_array_equal(first[name], values)
        session.close()
        for name, values in kept.items():
            np.testing.assert_array_equal(first[name], values)

    def test_inputs_are_only_read(self) -> None:
        """Frames are read-only views at times, and not contiguous; they are shared with other parts."""
        session = self.load("plain")
        source = self.source("plain")
        feeds = feeds_for(source)
        reference = expected(source, feeds)
        wide = np.zeros((1, 3, 32, 32), np.float32)
        wide[:, :, ::2, ::2] = feeds["x"]
        for array in (feeds["x"], np.asfortranarray(feeds["x"]), wide[:, :, ::2, ::2]):
            array.flags.writeable = False
            self.agree(session.infer({"x": array}), reference)
            np.testing.assert_array_equal(array, feeds["x"])

    @pytest.mark.parametrize("case", ["none", "name", "extra", "float64", "channels", "rank"])
    def test_wrong_feeds_are_refused(self, case: str) -> None:
        """Runtimes cast, zero or repeat the last input where one does not fit."""
        session = self.load("plain")
        x = feeds_for(self.source("plain"))["x"]
        feeds = {
            "none": {},
            "name": {"z": x},
            "extra": {"x": x, "z": x},
            "float64": {"x": x.astype(np.float64)},
            "channels": {"x": x[:, :2]},
            "rank": {"x": x[0]},
        }[case]
        with pytest.raises(BackendError, match="given") as refused:
            session.infer(feeds)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_not_a_number_is_not_cleaned(self, value: float) -> None:
        """It comes out again, or is refused; a plausible number in its place would be a silent fault."""
        session = self.load("linear")
        feeds = feeds_for(self.source("linear"))
        reference = expected(self.source("linear"), feeds)
        spoiled = feeds["x"].copy()
        spoiled[0, 1, 5, 5] = value
        try:
            found = session.infer({"x": spoiled})["y"]
        except BackendError:
            pass
        else:
            assert not np.isfinite(found[0, :, 4:7, 4:7]).any(), "the input was cleaned"
            assert np.isfinite(found[0, :, 8:, 8:]).all()
        self.agree(session.infer(feeds), reference)

    def test_not_a_number_passes_relu(self) -> None:
        """max(NaN, 0) is NaN for ONNX's reference; where a runtime makes 0 of it, its backend refuses it."""
        session = self.load("plain")
        spoiled = feeds_for(self.source("plain"))["x"]
        spoiled[0, 1, 5, 5] = np.nan
        try:
            found = session.infer({"x": spoiled})["y"]
        except BackendError as refused:
            assert "NaN" in str(refused)
        else:
            assert not np.isfinite(found[0, :, 5, 5]).any(), "ReLU hides NaN"

    # What a session says of itself.

    def test_information(self) -> None:
        session = self.load("plain", **self._threads(1))
        info = session.info
        assert info.backend == self.backend_name
        assert info.version and info.provider and info.requested_provider
        assert info.precision == "fp32", info.precision
        assert info.integer_coverage in (None, 0.0)
        assert info.load_ms > 0.0
        assert [(one.name, one.shape, one.dtype) for one in info.outputs] == [
            ("y", (1, 4, 16, 16), "float32")
        ]
        status = create_backend(self.backend_name).status()
        assert status.available and status.version == info.version
        assert status.providers

    def test_layers(self) -> None:
        """Integer coverage is counted on them: without layers nobody knows what is executed."""
        layers = self.load("plain").layers()
        assert sum(layer.is_compute for layer in layers) == 2, [layer.operator for layer in layers]

    def test_unknown_options_are_refused(self) -> None:
        with pytest.raises(BackendError, match="abacus.*known:"):
            self.load("plain", abacus=1)

    # Threads.

    def _threads(self, count: int) -> dict[str, int]:
        known = "threads" in create_backend(self.backend_name).options_type.model_fields
        return {"threads": count} if known else {}

    @pytest.mark.parametrize("threads", [1, 2])
    def test_threads(self, threads: int) -> None:
        """Counted by the CPU time of each thread of this process, which a loaded machine does not change."""
        assert self._threads(threads), "no option threads"
        session = self.load("heavy", threads=threads)
        feeds = feeds_for(self.source("heavy"))
        assert session.info.threads == threads
        busy = busy_threads(lambda: session.infer(feeds), threads)
        assert busy == threads, f"{busy} threads are busy, not {threads}"

    def test_threads_of_two_sessions(self) -> None:
        """The second session's threads are not the first one's."""
        assert self._threads(1), "no option threads"
        one, _two = self.load("heavy", threads=1), self.load("heavy", threads=2)
        feeds = feeds_for(self.source("heavy"))
        busy = busy_threads(lambda: one.infer(feeds), 1)
        assert busy == 1, f"{busy} threads are busy, not 1"

    def test_concurrent_sessions(self) -> None:
        """A node of three cameras: three sessions, a thread each, and nobody gets another one's result."""
        sessions = [self.load("plain") for _ in range(3)]
        feeds = [feeds_for(self.source("plain"), seed) for seed in range(3)]
        reference = [expected(self.source("plain"), one) for one in feeds]
        failures: list[BaseException] = []

        def run(place: int) -> None:
            try:
                for _ in range(50):
                    self.agree(sessions[place].infer(feeds[place]), reference[place])
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=run, args=(place,)) for place in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures[0]

    # Opening and closing.

    def test_a_closed_session_is_an_error(self) -> None:
        session = self.load("plain")
        session.close()
        session.close()
        with pytest.raises(BackendError) as refused:
            session.infer(feeds_for(self.source("plain")))
        assert "\n" not in str(refused.value)

    def test_reopening_does_not_grow(self) -> None:
        """100 times 1 MiB of weights: one that stays behind each time is 100 MiB, a tenth of it 10 MiB."""
        backend, path = create_backend(self.backend_name), self.file("weights")
        feeds = feeds_for(self.source("weights"))
        before = held()
        for number in range(_REOPENINGS + 10):
            if number == 10:  # pools and caches of the runtime are full
                before = held()
            session = backend.load(path, dict(self.options))
            session.infer(feeds)
            session.close()
        del session
        after = held()
        deadline = time.monotonic() + 10.0
        while after.threads > before.threads and time.monotonic() < deadline:
            time.sleep(0.1)  # threads end when they are scheduled
            after = held()
        assert after.threads <= before.threads
        assert after.files <= before.files
        grown = after.rss_bytes - before.rss_bytes
        assert grown < _REOPENINGS * WEIGHTS_BYTES / 10, f"grew by {grown / 1024:.0f} KiB"

    def test_an_interrupted_load_leaves_nothing_behind(self) -> None:
        """Ctrl-C at any moment of a load; the next load gives a session that computes."""
        backend, path = create_backend(self.backend_name), self.file("plain")
        start = time.perf_counter()
        backend.load(path, dict(self.options)).close()
        usual_s, interrupted = time.perf_counter() - start, 0
        for part in range(40):
            try:
                with interrupted_after(usual_s * (part % 10) / 10):
                    backend.load(path, dict(self.options)).close()
            except KeyboardInterrupt:
                interrupted += 1
            if interrupted >= 3 and part >= 9:
                break
        assert interrupted, "no load was interrupted"
        self.check("plain")

    # Files.

    def test_damaged_files_are_refused_in_one_line(self) -> None:
        """In a process of their own, which must survive them. What a flipped bit makes may load."""
        whole = self.file("plain")
        data = whole.read_bytes()
        cut = {f"cut{share}": data[: len(data) * share // 100] for share in (0, 25, 50, 90)}
        made = {"noise": np.random.default_rng(0).bytes(5000), "text": b"no model " * 50, **cut}
        made["head"] = data[:16] + np.random.default_rng(1).bytes(len(data))
        places = np.random.default_rng(2).integers(0, len(data), _FLIPS)
        for number, place in enumerate(places.tolist()):
            flipped = bytearray(data)
            flipped[place] ^= 1 << number % 8
            made[f"flip{number}"] = bytes(flipped)
        folder: Path = self.folder / "damaged"  # type: ignore[attr-defined]
        folder.mkdir()
        for name, content in made.items():
            (folder / f"{name}{whole.suffix}").write_bytes(content)
        files = [folder / f"{name}{whole.suffix}" for name in made] + [folder / f"missing{whole.suffix}"]
        results = run_child("damaged", self.backend_name, *files)
        for file in files:
            refused = results[str(file)]
            assert refused or file.stem.startswith("flip"), f"{file.name} was loaded"
            assert "\n" not in refused and len(refused) < _MAX_LINE
            assert not refused or file.name in refused, f"{file.name} is not named: {refused}"

    def test_the_loaded_bytes_are_those_of_the_hash(self) -> None:
        """The file may be exchanged between the manifest's check and the load."""
        with pytest.raises(AdcpError, match="sha256"):
            create_backend(self.backend_name).load_checked(self.file("plain"), dict(self.options), "0" * 64)

    def test_a_file_may_change_under_an_open_session(self) -> None:
        """An update of the model writes over it; a mapped file would end the process at the next frame."""
        copy: Path = self.folder / f"exchanged{self.file('plain').suffix}"  # type: ignore[attr-defined]
        copy.write_bytes(self.file("plain").read_bytes())
        assert run_child("exchanged", self.backend_name, copy) is True

    # Without the runtime.

    @pytest.mark.parametrize("kind", ["blocked", "broken"])
    def test_a_missing_runtime_is_one_line_with_the_way_out(self, kind: str) -> None:
        """In a process whose imports are blocked, so whether it is installed or not.

        Broken: one of its libraries is missing, an OSError, which ended ``adcp backends`` before.
        """
        if self.runtime_module is None:
            pytest.skip(f"no module stands for the runtime of {self.backend_name}")
        blocked = run_child(kind, self.backend_name, self.source("plain"), self.runtime_module)
        assert blocked["available"] is False
        for line in (blocked["detail"], blocked["refused"]):
            assert self.backend_name in line and "\n" not in line and len(line) < _MAX_LINE
        assert blocked["missing"].startswith("pip install "), blocked["missing"]
