# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which files a model consists of besides the one that its manifest names, and where they may lie."""

from __future__ import annotations

import hashlib
import ipaddress
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ad_compressed_perception.core.errors import AdcpError, ModelFileError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.yaml_file import read_yaml_mapping

ALLOW_OUTSIDE: Final = "ADCP_ALLOW_OUTSIDE"
"""Environment variable: 1 lets manifests name files outside of their folder, in every process that has it."""
FOLDER_OPTIONS: Final = ("cache_dir", "trt_engine_cache")
"""Options of backends that name a folder in which the runtime writes and from which it loads code."""
STAGES_NAME: Final = "stages.yaml"
"""Name of the file that lists the stages of a model (backends/stage_file.py)."""

# Keys of external data, of EP contexts' attribute: a file without them names no other file.
_KEYS = (b"\x08location", b"ep_cache_context")
# How files of other formats begin: place, bytes. Not by suffix, as runtimes take ONNX under any name.
_OTHER_FORMATS = ((0, b"<"), (0, b"\xef\xbb\xbf<"), (4, b"TFL3"))


def further_files(path: Path) -> set[str]:
    """Return existing files that a model's file reads, relative to its folder: weights, a .bin, stages.

    Raises:
        ModelFileError: the file names other files but cannot be parsed.
    """
    names = {path.with_suffix(".bin").name} if path.suffix == ".xml" else set()
    if path.name == STAGES_NAME:
        stages = read_yaml_mapping(path, "stages", ModelFileError).get("stages")
        listed = stages if isinstance(stages, list) else []
        names |= {str(stage["file"]) for stage in listed if isinstance(stage, Mapping) and "file" in stage}
    elif path.suffix != ".adcpz" and _names_files(path):  # packed models are expanded, and checked there
        import onnx

        try:
            model = onnx.load(str(path), format="protobuf", load_external_data=False)
        except Exception as error:  # protobuf's own errors share no public base
            if _is_other_format(path):
                return {name for name in names if (path.parent / name).is_file()}
            raise ModelFileError(f"not an ONNX file, or damaged: {path} ({one_line(error)})") from error
        names |= {*external_data(model), *_contexts(model.graph)}
    return {name for name in names if (path.parent / name).is_file()}


def _names_files(path: Path) -> bool:
    with path.open("rb") as stream:
        if not path.stat().st_size:
            return False
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(key) >= 0 for key in _KEYS)


def _is_other_format(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(8)
    return any(head.startswith(magic, place) for place, magic in _OTHER_FORMATS)


def external_data(message: Any) -> Iterator[str]:
    """Yield the file name of every tensor stored outside, anywhere in an ONNX model or a part of it."""
    for field, value in message.ListFields():
        if field.name == "external_data" and message.data_location:
            yield from (entry.value for entry in value if entry.key == "location")
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from external_data(part)


def _contexts(graph: Any) -> Iterator[str]:
    """Yield the files of compiled engines (EPContext nodes of ONNX Runtime) that are not embedded."""
    for node in graph.node:
        values = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "EPContext" and "embed_mode" in values and values["embed_mode"].i == 0:
            yield values["ep_cache_context"].s.decode(errors="replace")


def is_inside(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a path lies in one of several folders after links were followed."""
    resolved = path.resolve()
    return any(resolved.is_relative_to(folder.resolve()) for folder in folders)


def outside(what: str, path: Path, folder: Path) -> ModelFileError:
    """Return the error for a file that a manifest names outside of its folder."""
    return ModelFileError(
        f"{what} lies outside of the model's folder {folder}: {path}; move it there, or if you trust the "
        f"model: allow_outside of the node or the command, or {ALLOW_OUTSIDE}=1 in the environment"
    )


def user_cache() -> Path:
    """Return this package's folder in the user's cache: ``$XDG_CACHE_HOME/adcp``, else ``~/.cache/adcp``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "adcp"


def cache_folder(value: str) -> Path:
    """Return the folder that one of FOLDER_OPTIONS means; a relative one lies in the user's cache."""
    return user_cache() / Path(value).expanduser()


def check_folder_options(what: str, options: Mapping[str, Any], folders: tuple[Path, ...]) -> None:
    """Raise ModelFileError where options name a folder outside of the manifest's and of the user's cache."""
    for name in FOLDER_OPTIONS:
        value = options.get(name)
        if isinstance(value, str) and not is_inside(cache_folder(value), (*folders, user_cache())):
            raise outside(f"{name} of {what}", cache_folder(value), folders[0])


def is_this_computer(url: str) -> bool:
    """Whether the host of ``host:port`` is this computer, by its address or as localhost."""
    host = url.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which anybody may have given any address
        return False


def check_server_options(what: str, options: Mapping[str, Any]) -> None:
    """Raise ModelFileError where a manifest's options would send images to another computer."""
    url = options.get("url")
    if (isinstance(url, str) and not is_this_computer(url)) or options.get("allow_plaintext"):
        raise ModelFileError(
            f"{what} would send the camera's images to {url or 'a server'}, unencrypted or not: give url and "
            "allow_plaintext yourself (backend_options), or if you trust the model: "
            f"allow_outside of the node or the command, or {ALLOW_OUTSIDE}=1 in the environment"
        )


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_checked(path: Path, sha256: str | None, kind: type[AdcpError] = ModelFileError) -> bytes:
    """Return a file's content, which has the given sha256 (None: any): what was checked is what is used.

    Raises:
        AdcpError: of the given kind: missing, unreadable, or changed since its hash was checked.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise kind(f"no model file at {path}") from None
    except OSError as error:
        raise kind(f"cannot read model file {path}: {error.strerror or error}") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise kind(f"model file changed while it was loaded, its sha256 is another now: {path}")
    return content
