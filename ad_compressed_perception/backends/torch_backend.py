# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""PyTorch: runs programs of torch.export (.pt2) and TorchScript (.pt), on the CPU or on an NVIDIA GPU.

No Python object is unpickled (``torch_archive.py``); TorchScript is read by ``torch.jit.load`` alone.

**Threads** of torch belong to the calling thread and, for its BLAS library, to the process. A session sets
its number before each inference where another one is set, and puts the former back afterwards: what runs in
other threads at the same moment may be affected, and is not where all sessions ask for the same number.
"""

from __future__ import annotations

import contextlib
import io
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.backends.base import (
    BackendOptions,
    BackendStatus,
    HashingBackend,
    Session,
    SessionInfo,
    Tensors,
    executed_precision,
)
from ad_compressed_perception.backends.checked_load import backend_errors
from ad_compressed_perception.backends.feeds import check_feeds, warm_up
from ad_compressed_perception.backends.program_names import MEMBER, ProgramNames, numbered, read_names
from ad_compressed_perception.backends.torch_archive import refuse_code
from ad_compressed_perception.backends.torch_layers import program_layers, script_layers
from ad_compressed_perception.core.errors import BackendError
from ad_compressed_perception.core.model_files import read_checked
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.tensors import LayerRecord, TensorSpec

PROGRAM, SCRIPT = ".pt2", ".pt"
_AUTOCAST = {"bf16": "bfloat16", "fp16": "float16"}
_UNKNOWN_INPUT = (
    "the file does not say the shapes of its inputs: give input_shape, or export it with torch.export (.pt2)"
)


class TorchOptions(BackendOptions):
    """Options of the backend ``torch``."""

    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="cpu, cuda or cuda:NUMBER")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="of convolutions and matrix products, by autocast; fp32: as the file says"
    )
    compile: bool = Field(
        False, description="compile the program when it is loaded (torch.compile; needs a C++ compiler)"
    )
    threads: int = Field(1, ge=1, le=1024, description="inside one operator; the process's, see the guide")
    warmup_runs: int = Field(3, ge=0, le=1000, description="runs on zeros before the first frame")
    input_shape: list[int] | None = Field(
        None, min_length=1, description="of a TorchScript file that does not say the shape of its one input"
    )


class TorchSession(Session):
    """A program in PyTorch."""

    def __init__(self, torch: Any, model: Path, options: TorchOptions, sha256: str | None) -> None:
        """Load, compile where asked for, and warm up; raise BackendError where the file cannot be used."""
        self._torch, self._model, self._options = torch, model, options
        self._device = _usable_device(torch, options.device)
        start = perf_counter()
        content = read_checked(model, sha256, BackendError)
        is_program = model.suffix == PROGRAM
        loaded = (self._load_program if is_program else self._load_script)(content)
        del content
        self._module, self._inputs, self._names, self._layers = loaded
        self._run: Any = self._module
        if options.compile:
            self._run = torch.compile(self._module, dynamic=False)
        self._constants = {
            tensor.untyped_storage().data_ptr()
            for tensor in (*self._module.parameters(), *self._module.buffers())
        }
        outputs = self._first_outputs()
        load_ms = (perf_counter() - start) * 1e3
        precision, coverage = executed_precision(self._layers, fallback=options.precision)
        provider = "CPU" if self._device.type == "cpu" else f"CUDA:{self._device.index or 0}"
        warmup_ms = warm_up(self, self._inputs, options.warmup_runs)
        self.info = SessionInfo(
            backend=TorchBackend.name,
            version=str(torch.__version__),
            requested_provider=options.device.upper(),
            provider=provider,
            precision=precision,
            threads=options.threads,
            integer_coverage=coverage,
            load_ms=load_ms,
            warmup_ms=warmup_ms,
            inputs=self._inputs,
            outputs=outputs,
        )

    def infer(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Run the program; see Session.infer."""
        check_feeds(self._inputs, feeds)
        try:
            with self._settings():
                results = self._call([feeds[spec.name] for spec in self._inputs])
                return dict(zip(self._names, results, strict=True))
        except Exception as error:
            raise BackendError(f"torch failed on {self._model.name}: {one_line(error)}") from error

    def layers(self) -> list[LayerRecord]:
        """List the program's operators; ``torch.compile`` fuses those between convolutions."""
        return list(self._layers)

    def close(self) -> None:
        """Release the model."""
        self._run = self._module = None
        if self._device.type == "cuda":
            self._torch.cuda.empty_cache()

    def _call(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        torch = self._torch
        # Copies: a program may change its input in place, and others read the same frame.
        given = [torch.from_numpy(x.copy()) for x in arrays]
        results = _flat(self._run(*(tensor.to(self._device) for tensor in given)))
        # What a program hands through must not change with the caller's array, nor the other way round.
        shared = self._constants | {tensor.untyped_storage().data_ptr() for tensor in given}
        found = []
        for value in results:
            value = value.detach()
            value = value.float() if value.dtype in (torch.bfloat16,) else value
            value = value.cpu()
            if value.untyped_storage().data_ptr() in shared:
                value = value.clone()
            found.append(value.resolve_conj().numpy())
        return found

    @contextlib.contextmanager
    def _settings(self) -> Iterator[None]:
        """Threads, autocast and, on a GPU, products in the precision that is reported."""
        torch, options = self._torch, self._options
        before = torch.get_num_threads()
        if before != options.threads:
            torch.set_num_threads(options.threads)
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(torch.inference_mode())
                if options.precision in _AUTOCAST:
                    kind = getattr(torch, _AUTOCAST[options.precision])
                    stack.enter_context(torch.autocast(self._device.type, dtype=kind))
                if self._device.type == "cuda":  # by default convolutions round to 10 bits of mantissa (TF32)
                    cudnn = torch.backends.cudnn
                    stack.enter_context(
                        cudnn.flags(cudnn.enabled, cudnn.benchmark, cudnn.deterministic, allow_tf32=False)
                    )
                yield
        finally:
            if before != options.threads:
                torch.set_num_threads(before)

    def _first_outputs(self) -> tuple[TensorSpec, ...]:
        """Run once on zeros, which compiles the program and shows what it returns; name the outputs."""
        feeds = [np.zeros([size or 1 for size in spec.shape], spec.dtype) for spec in self._inputs]
        dynamic = any(size is None for spec in self._inputs for size in spec.shape)
        try:
            with self._settings():
                results = self._call(feeds)
        except Exception as error:
            if dynamic and self._names:  # sizes of 1 may be refused
                return tuple(TensorSpec(name, (), "float32") for name in self._names)
            kind = "compile" if self._options.compile else "run"
            raise BackendError(f"torch cannot {kind} {self._model}: {one_line(error)}") from error
        self._names = numbered("output", len(results), self._names or None)
        specs = []
        for name, value in zip(self._names, results, strict=True):
            shape = tuple(None if dynamic else size for size in value.shape)
            specs.append(TensorSpec(name, shape, value.dtype.name))
        return tuple(specs)

    def _load_program(self, content: bytes) -> tuple[Any, tuple[TensorSpec, ...], Any, list[LayerRecord]]:
        torch = self._torch
        refuse_code(torch, content, self._model)
        extra = {MEMBER: ""}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(io.BytesIO(content), extra_files=extra)
            if self._device.type != "cpu":
                program = torch.export.passes.move_to_device_pass(program, str(self._device))
        names = read_names(extra[MEMBER])
        values = _user_inputs(torch, program)
        inputs = _specs(values, None if names is None else names.inputs)
        layers = program_layers(torch, program, self._options.precision)
        outputs = () if names is None else names.outputs
        return program.module(), inputs, outputs, layers

    def _load_script(self, content: bytes) -> tuple[Any, tuple[TensorSpec, ...], Any, list[LayerRecord]]:
        torch, extra = self._torch, {MEMBER: ""}
        if not zipfile.is_zipfile(io.BytesIO(content)) or not _holds_script(content):
            raise BackendError(
                f"{self._model} is no TorchScript file: files of torch.save hold Python objects, which are "
                "not unpickled; save it with torch.export.save as .pt2"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TorchScript gets no new features
            module = torch.jit.load(io.BytesIO(content), map_location=self._device, _extra_files=extra)
        module = module.eval()
        names = read_names(extra[MEMBER])
        inputs = _script_inputs(names, self._options.input_shape)
        layers = script_layers(torch, module, self._options.precision)
        return module, inputs, () if names is None else names.outputs, layers


class TorchBackend(HashingBackend):
    """Runs .pt2 and .pt files in PyTorch."""

    name: ClassVar[str] = "torch"
    distribution: ClassVar[str] = "torch"
    reads: ClassVar[tuple[str, ...]] = (PROGRAM, SCRIPT)
    precisions: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"precision": name} for name in ("fp32", *_AUTOCAST)
    }
    options_type: ClassVar[type[BackendOptions]] = TorchOptions

    @classmethod
    def status(cls) -> BackendStatus:
        """Report whether torch is installed, and whether it sees a GPU."""
        try:
            torch = _import_torch()
        except BackendError as error:
            return BackendStatus(cls.name, available=False, detail=str(error))
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        providers = ("CPU", *(f"CUDA:{index}" for index in range(count)))
        return BackendStatus(cls.name, available=True, version=str(torch.__version__), providers=providers)

    def _load(self, model: Path, options: Mapping[str, Any], sha256: str | None) -> Session:
        """Load and warm up a .pt2 or .pt file; options are those of TorchOptions.

        Raises:
            BackendError: torch is missing; an unknown option, value or device; the file is missing, damaged,
                or holds more than tensors and operators.
            ModelFileError: see HashingBackend.
        """
        parsed = self.parse_options(options)
        if Path(model).suffix not in (PROGRAM, SCRIPT):
            raise BackendError(
                f"{model}: backend 'torch' runs .pt2 (torch.export) and .pt (TorchScript) files"
            )
        with backend_errors(self.name, Path(model)):
            return TorchSession(_import_torch(), Path(model), parsed, sha256)


def _import_torch() -> Any:
    try:
        import torch
    except Exception as error:  # also a library that lacks or does not fit
        raise BackendError(f"backend 'torch' needs torch: pip install torch ({one_line(error)})") from error
    return torch


def _usable_device(torch: Any, name: str) -> Any:
    """Return the device; raise BackendError saying why there is none."""
    device = torch.device(name)
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        why = "sees no NVIDIA GPU" if torch.version.cuda else "is a build without CUDA"
        raise BackendError(
            f"device {name!r} was asked for, and torch {torch.__version__} {why}; use device: cpu"
        )
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise BackendError(f"device {name!r} was asked for, and there are {count} GPUs: cuda:0 is the first")
    return torch.device("cuda", device.index or 0)


def _user_inputs(torch: Any, program: Any) -> list[tuple[str, Any]]:
    expected = set(program.graph_signature.user_inputs)
    found = [
        (node.name, node.meta.get("val"))
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in expected
    ]
    for name, value in found:
        if not isinstance(value, torch.Tensor):
            raise BackendError(f"input {name!r} of the program is no tensor")
    return found


def _specs(values: list[tuple[str, Any]], known: tuple[str, ...] | None) -> tuple[TensorSpec, ...]:
    names = numbered("input", len(values), known or tuple(name for name, _ in values))
    return tuple(
        TensorSpec(
            name,
            tuple(size if isinstance(size, int) else None for size in value.shape),
            str(value.dtype).removeprefix("torch."),
        )
        for name, (_, value) in zip(names, values, strict=True)
    )


def _script_inputs(names: ProgramNames | None, given: list[int] | None) -> tuple[TensorSpec, ...]:
    if names is not None and names.shapes:
        listed = zip(names.inputs, names.shapes, names.dtypes, strict=True)
        return tuple(TensorSpec(name, shape, dtype) for name, shape, dtype in listed)
    if given is None:
        raise BackendError(_UNKNOWN_INPUT)
    return (TensorSpec("input_0", tuple(given), "float32"),)


def _holds_script(content: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return any(name.partition("/")[2].startswith("code/") for name in archive.namelist())


def _flat(value: Any) -> list[Any]:
    """Return the tensors of what a program returns: one, a list or tuple, or a mapping, nested."""
    if isinstance(value, Mapping):
        return [tensor for part in value.values() for tensor in _flat(part)]
    if isinstance(value, (list, tuple)):
        return [tensor for part in value for tensor in _flat(part)]
    if not hasattr(value, "untyped_storage"):
        raise BackendError(f"the program returns a {type(value).__name__} where a tensor is expected")
    return [value]
