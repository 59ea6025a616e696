# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Converts PyTorch models to ONNX with PyTorch's own exporters; no Python object is unpickled."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ad_compressed_perception.backends.torch_archive import refuse_code
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.one_line import one_line

OPSET = 18


def torchscript_to_onnx(source: Path, target: Path, shape: tuple[int, ...]) -> None:
    """Write a TorchScript module as ONNX.

    Args:
        source: file written by torch.jit.save.
        target: the ONNX file to write.
        shape: of the float32 input; TorchScript does not store it.

    Raises:
        ModelFileError: torch is missing, the file is damaged, or the exporter does not support the model.
    """
    torch = _import_torch(source)
    with _export_errors(source), _suppressed_output():
        module = torch.jit.load(str(source), map_location="cpu").eval()
        torch.onnx.export(
            module,
            (torch.zeros(*shape),),
            str(target),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
        )


def exported_program_to_onnx(source: Path, target: Path) -> None:
    """Write a program of torch.export as ONNX; its input has the size of the example it was made with.

    Raises:
        ModelFileError: torch or onnxscript is missing, the file is damaged or holds pickled objects, or
            the exporter does not support the model.
    """
    torch = _import_torch(source)
    with _export_errors(source), _suppressed_output():
        refuse_code(torch, source.read_bytes(), source)
        program = torch.export.load(str(source))
        torch.onnx.export(program, (), str(target), dynamo=True, external_data=False, verbose=False)


def _import_torch(source: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ModelFileError(
            f"{source} is a PyTorch model: install torch (the extra [train]), "
            "or export it to ONNX where torch is installed"
        ) from error
    return torch


@contextlib.contextmanager
def _export_errors(source: Path) -> Iterator[None]:
    try:
        yield
    except ModelFileError:
        raise
    except ModuleNotFoundError as error:
        raise ModelFileError(
            f"exporting {source} needs the package {error.name}: install it, or export to ONNX elsewhere"
        ) from error
    except Exception as error:  # torch's own types are many
        raise ModelFileError(f"PyTorch cannot export {source}: {one_line(error)}") from error


@contextlib.contextmanager
def _suppressed_output() -> Iterator[None]:
    """Keep the exporter's prints and warnings out of the command's own output."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
