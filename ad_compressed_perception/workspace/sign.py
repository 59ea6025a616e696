# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Signing a model's manifest, and making the keys."""

from __future__ import annotations

import os
from pathlib import Path

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import MANIFEST_NAME, Manifest, load_manifest
from ad_compressed_perception.core.signature import load_key, signature_path
from ad_compressed_perception.workspace.atomic_file import write_file

PUBLIC_SUFFIX = ".pub.pem"


def sign_model(folder: Path, private_key: Path) -> Path:
    """Check every file of a model against its manifest, sign the manifest, and return the signature's path.

    Raises:
        AdcpError: a file is missing, altered, not listed or outside of the folder; no usable key; one line.
    """
    key = load_key(private_key, private=True)
    manifest = check_files(load_manifest(folder))
    path = manifest.folder / MANIFEST_NAME
    content = path.read_bytes()
    return write_file(signature_path(path), key.sign(content))


def verify_model(folder: Path, public_key: Path) -> Manifest:
    """Return the manifest of a model whose signature and whose files, of all variants, are right.

    Raises:
        AdcpError: the first thing that is wrong; one line.
    """
    return check_files(load_manifest(folder, public_key=public_key))


def check_files(manifest: Manifest) -> Manifest:
    """Return the manifest after the files of every variant were checked; raise AdcpError otherwise."""
    for name in manifest.variants:
        manifest.checked_path(name, allow_rejected=True)
    return manifest


def make_keys(private_key: Path) -> Path:
    """Write a new ed25519 private key, for this user only, and its public key; return the latter's path.

    Raises:
        ManifestError: one of the files exists, cannot be written, or ``cryptography`` is not installed.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
            PublicFormat,
        )
    except ImportError as error:
        raise ManifestError(f"signatures need the extra [signature]: {error}") from error
    public_key = private_key.with_name(private_key.name.removesuffix(".pem") + PUBLIC_SUFFIX)
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for path, content, mode in ((private_key, private, 0o600), (public_key, public, 0o644)):
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            raise ManifestError(f"{path} exists: name another file for the new key") from None
        except OSError as error:
            raise ManifestError(f"cannot write {path}: {error.strerror or error}") from error
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
    return public_key
