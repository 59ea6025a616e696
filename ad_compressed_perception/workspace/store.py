# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Storage of variants: in a work folder beside the model, or in the model's own folder.

``WORK/<model name>/`` holds ``model.yaml`` with every variant, and for each made here its file and the
folder of its report. The model's other files lie in ``<variant>.files``, as hard links where the file system
allows, so that the folder is complete. A variant is built in a hidden folder there and moved into place when
complete; the manifest is moved after the file, so that at no moment an entry names the file of another
variant.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from ad_compressed_perception.core.errors import ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import (
    MANIFEST_NAME,
    Manifest,
    Variant,
    check_variant_name,
    load_manifest,
)
from ad_compressed_perception.core.model_files import further_files, is_inside
from ad_compressed_perception.core.signature import StaleSignatureWarning, signature_path
from ad_compressed_perception.drift.manifest_references import join_references
from ad_compressed_perception.drift.reference import DriftReference
from ad_compressed_perception.workspace.file_transaction import FileTransaction
from ad_compressed_perception.workspace.save_manifest import save_manifest
from ad_compressed_perception.workspace.temporary import scratch_folder

WORK_VARIABLE = "ADCP_WORK"
DEFAULT_WORK = Path("adcp_work")
REPORT_SUFFIX = ".report"
"""Suffix of the report folder's name, after the variant's name."""
FILES_SUFFIX = ".files"
"""Suffix of the folder with a variant's files that were made elsewhere, after the variant's name."""

_STAGING = ".compress-"


def work_folder(work: Path | None) -> Path:
    """Return the work folder: the one given, else ``$ADCP_WORK``, else ``./adcp_work``."""
    return (work or Path(os.environ.get(WORK_VARIABLE) or DEFAULT_WORK)).expanduser().resolve()


def model_folder(manifest: Manifest, work: Path | None) -> Path:
    """Return the folder in the work folder that belongs to a model."""
    return work_folder(work) / manifest.name


def is_same_model(one: Manifest, other: Manifest) -> bool:
    """Whether two manifests describe the same model: same name, same files of the baseline.

    Further files count where both manifests list them: one of an earlier version lists none.
    """
    first, second = one.variant(one.baseline), other.variant(other.baseline)
    shared = first.files.keys() & second.files.keys()
    same_files = all(first.files[name] == second.files[name] for name in shared)
    return one.name == other.name and first.sha256 == second.sha256 and same_files


def content_hash(manifest: Manifest, name: str) -> str:
    """Return a hash of all files of a variant: its ``sha256``, or one over it and those of ``files``."""
    variant = manifest.variant(name)
    text = json.dumps([variant.sha256, sorted(variant.files.items())])
    return hashlib.sha256(text.encode()).hexdigest() if variant.files else variant.sha256


def find_variants(manifest: Manifest, work: Path | None, names: list[str]) -> Manifest:
    """Return the manifest that has all the requested variants: the model's own, or the work folder's.

    Raises:
        ManifestError: neither has them; the message says which variants there are.
    """
    if all(name in manifest.variants for name in names):
        return manifest
    folder = model_folder(manifest, work)
    known = dict.fromkeys(manifest.variants)
    if (folder / MANIFEST_NAME).is_file() and folder != manifest.folder:
        made = load_manifest(folder)
        if not is_same_model(made, manifest):
            raise ManifestError(
                f"{folder} holds variants of another {manifest.name!r}: its baseline is a different file; "
                "name another work folder or compress anew"
            )
        if all(name in made.variants for name in names):
            return made
        known |= dict.fromkeys(made.variants)
    missing = ", ".join(repr(name) for name in names if name not in known)
    raise ManifestError(
        f"model {manifest.name!r} has no variant {missing or ', '.join(names)} in {manifest.folder} or "
        f"{folder}; it has: {', '.join(known)}"
    )


def open_target(manifest: Manifest, work: Path | None, in_place: bool, name: str) -> Manifest:
    """Return the manifest that a new variant ``name`` will go into, its ``folder`` being the target.

    Raises:
        ManifestError: no variant may have the name, the name is the baseline's, or already means another
            variant of the model's own folder, or the work folder holds another model of this name.
    """
    check_variant_name(name)
    if name == "accepted":
        raise ManifestError("'accepted' asks for whichever variant was accepted: choose another name")
    if name == manifest.baseline:
        raise ManifestError(f"{name!r} is the baseline of {manifest.name!r}: choose another name")
    folder = manifest.folder if in_place else model_folder(manifest, work)
    if folder == manifest.folder:
        return manifest.model_copy(deep=True)
    if name in manifest.variants:
        raise ManifestError(
            f"model {manifest.name!r} has a variant {name!r} in {manifest.folder}: "
            "choose another name, or replace it in place"
        )
    target = manifest.model_copy(deep=True)
    for variant_name, variant in target.variants.items():
        variant.file = str(manifest.variant_path(variant_name))  # until store_variant takes it in
    target.move_to(folder)
    if (folder / MANIFEST_NAME).is_file():
        made = load_manifest(folder)
        if not is_same_model(made, manifest):
            raise ManifestError(
                f"{folder} holds variants of another {manifest.name!r}: its baseline is a different file; "
                "name another work folder or remove it"
            )
        for variant_name, variant in made.variants.items():
            target.variants.setdefault(variant_name, variant)
        target.drift_reference = {**(target.drift_reference or {}), **(made.drift_reference or {})} or None
    return target


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Create a hidden folder inside ``folder`` for unfinished files; it is removed at the end.

    Leftovers of killed runs are removed too, and so are the folders created here if they stay empty.

    Raises:
        ManifestError: the folder cannot be made or written to, or the disk is full meanwhile.
    """
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with scratch_folder(folder, _STAGING) as path:
            yield path
    except OSError as error:  # a folder that cannot be made or went away, a full disk, a quota
        raise ManifestError(
            f"cannot write to {folder}: {error.strerror or error}; name another work folder"
        ) from error
    finally:
        for made in missing:
            with contextlib.suppress(OSError):
                made.rmdir()


def stored_name(name: str, built: Path) -> str:
    """Return where a built file goes, in a model's folder: one of several files has a folder with them."""
    if further_files(built):
        return f"{name}{FILES_SUFFIX}/{built.name}"
    return f"{name}{built.suffix}"


def store_variant(
    target: Manifest,
    name: str,
    variant: Variant,
    built: Path,
    report: Path | None = None,
    references: Mapping[str, DriftReference] | None = None,
) -> bool:
    """Move a built file and its report into the target's folder and enter the variant in its manifest.

    Variants that other processes have entered meanwhile are kept. All files are written before anything is
    moved, Ctrl-C is deferred until after the moves, and where a move fails those before it are undone: the
    earlier variant of that name or the new one is complete. An earlier entry is removed first: if the
    process is killed between two moves, an entry is missing, never wrong.

    Args:
        target: its ``folder`` is where things go.
        name: the variant's.
        variant: its entry.
        built: its file, inside a ``staging`` of that folder; its folder is moved where the entry has one.
        report: folder of its report, likewise; None for none.
        references: drift references of variants; one that is there of the same file and of a longer
            recording stays.

    Returns:
        Whether an entry of that name was replaced.

    Raises:
        OSError: the disk is full, or something cannot be moved.
    """
    folder, first = target.folder, Path(variant.file).parts[0]
    source = built if first == variant.file else built.parent
    aside = source.parent
    taken = _take_in(target, name, aside)
    previous = target.variants.pop(name, None)
    if previous is not None:
        for entry in target.variants.values():
            if entry.derived_from == name:
                entry.derived_from = target.baseline
    without = _write_aside(target, aside / "without") if previous is not None else None
    target.variants[name] = variant
    target.drift_reference = join_references(target, references or {}, keep_longer=True)
    entered = _write_aside(target, aside / "entered")
    # Temporary files are private; a model gets the usual permissions.
    built.chmod(0o644 & ~_umask())
    if report is not None:
        report.chmod(0o755 & ~_umask())
    moves = FileTransaction(aside / "earlier")
    with moves.all_or_none():
        if without is not None:
            moves.replace(without, folder / MANIFEST_NAME)
        if outdated := _outdated(name, previous, first):
            moves.remove(folder / outdated)
        for files in taken:
            moves.remove(folder / files.name)
            moves.replace(files, folder / files.name)
        moves.replace(source, folder / first)
        moves.remove(folder / f"{name}{REPORT_SUFFIX}")
        if report is not None:
            moves.replace(report, folder / f"{name}{REPORT_SUFFIX}")
        moves.replace(entered, folder / MANIFEST_NAME)
    if signature_path(folder / MANIFEST_NAME).is_file():
        warnings.warn(StaleSignatureWarning(folder / MANIFEST_NAME), stacklevel=2)
    return previous is not None


def _outdated(name: str, previous: Variant | None, first: str) -> str:
    """Return the file or folder of an earlier entry that the new one's does not replace; empty: none.

    Packed before and not now, or one file before and several now, its name is another.
    """
    own = Path(previous.file).parts[0] if previous is not None else first
    is_here = previous is not None and own in (previous.file, f"{name}{FILES_SUFFIX}")
    return own if is_here and own != first else ""


def _take_in(target: Manifest, new: str, aside: Path) -> list[Path]:
    """Enter the variants that the target's folder has meanwhile, and take in files that lie elsewhere.

    They are linked or copied into a folder for each variant but ``new``, which is returned. Files that are
    missing, altered or outside of their own model's folder stay where they are.
    """
    taken = []
    known = (target.folder / MANIFEST_NAME).is_file()
    manifest = load_manifest(target.folder) if known else None
    present = manifest.variants if manifest else {}
    for name, entry in present.items():
        target.variants.setdefault(name, entry)
    if manifest and manifest.drift_reference:
        target.drift_reference = {**(target.drift_reference or {}), **manifest.drift_reference}
    for name, entry in target.variants.items():
        if name == new:
            continue
        own = present.get(name)
        if own is not None and (own.sha256, own.files) == (entry.sha256, entry.files):
            entry.file = own.file
            continue
        path, folder = target.variant_path(name), aside / f"{name}{FILES_SUFFIX}"
        places = {folder / key: path.parent / key for key in (path.name, *entry.files)}
        if is_inside(path, [target.folder]) or not all(is_inside(place, [folder]) for place in places):
            continue
        try:
            target.checked_path(name, allow_rejected=True)
        except ModelFileError:
            continue
        for place, source in places.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source.resolve(), place)
            except OSError:  # another file system, or a file of another user
                shutil.copyfile(source, place)
                place.chmod(0o644 & ~_umask())
        entry.file = f"{folder.name}/{path.name}"
        taken.append(folder)
    return taken


def _write_aside(target: Manifest, folder: Path) -> Path:
    """Write a manifest to another folder, with the permissions of the target's folder."""
    path = save_manifest(target, folder)
    path.chmod(target.folder.stat().st_mode & 0o666)
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
