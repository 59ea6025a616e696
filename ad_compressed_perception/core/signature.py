# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The signature of a manifest: 64 bytes of ed25519 over model.yaml, in ``model.yaml.sig`` beside it.

model.yaml holds the sha256 of every file of the model, so its signature covers them all. The signed bytes
are the file as it is, and the signature has no format of its own: OpenSSL makes and checks it too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.one_line import one_line

SIGNATURE_SUFFIX = ".sig"
SIGNATURE_BYTES = 64


class StaleSignatureWarning(UserWarning):
    """A signed manifest was changed: nodes with a public key refuse it until it is signed again."""

    def __init__(self, manifest: Path) -> None:
        """Name the manifest and the way out."""
        super().__init__(
            f"{manifest} has changed and its signature is of the earlier content: sign again with "
            f"adcp sign {manifest.parent}"
        )


def signature_path(manifest: Path) -> Path:
    """Return where a manifest's signature lies: beside it, ``.sig`` after its whole name."""
    return manifest.with_name(manifest.name + SIGNATURE_SUFFIX)


def check_signature(manifest: Path, public_key: Path) -> bytes:
    """Return the content of a manifest that was signed with the private key of ``public_key`` (PEM).

    Raises:
        ManifestError: the key cannot be used, there is no signature, or it is not of this content and key.
    """
    key = load_key(public_key, private=False)
    path = signature_path(manifest)
    if not path.is_file():
        raise ManifestError(f"{manifest} is not signed, a public key was given: adcp sign {manifest.parent}")
    signature = _read(path)
    if len(signature) != SIGNATURE_BYTES:
        raise ManifestError(f"{path} is damaged: {len(signature)} bytes, a signature has {SIGNATURE_BYTES}")
    content = _read(manifest)
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, content)
    except InvalidSignature:
        raise ManifestError(
            f"{path} is no signature of {manifest.name} by {public_key}: altered after it was signed, or by "
            "another key; if the change is yours, sign again with adcp sign"
        ) from None
    return content


def load_key(path: Path, *, private: bool) -> Any:
    """Return the ed25519 key of a PEM file.

    Raises:
        ManifestError: ``cryptography`` is not installed, or the file holds no such key.
    """
    kind = "private" if private else "public"
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ed25519
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
    except ImportError as error:
        raise ManifestError(f"signatures need the extra [signature]: {one_line(error)}") from error
    content = _read(path)
    try:
        key: Any = load_pem_private_key(content, None) if private else load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ManifestError(
            f"{path} holds no {kind} key without password in PEM: {one_line(error)}"
        ) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey):
        raise ManifestError(f"{path} holds a {kind} key of another type: an ed25519 key is needed")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {error.strerror or error}") from error
