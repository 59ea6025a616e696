# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp sign`` and ``adcp verify-signature``: who vouches for a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_compressed_perception.cli.options import ModelFolder


def sign(
    model_dir: ModelFolder,
    key: Annotated[
        Path, typer.Option(metavar="PRIVATE.pem", help="ed25519 private key in PEM, without password.")
    ],
    new_key: Annotated[
        bool,
        typer.Option("--new-key", help="Make the key first: PRIVATE.pem, and PRIVATE.pub.pem for the nodes."),
    ] = False,
) -> None:
    """Sign model.yaml after all files of the model were checked against it; writes model.yaml.sig.

    Nodes whose parameter public_key names the public key load only what its private key has signed.
    """
    from ad_compressed_perception.workspace.sign import make_keys, sign_model

    if new_key:
        print(f"new keys: {key} (keep it secret), {make_keys(key)} (for the nodes' parameter public_key)")
    print(f"signed: {sign_model(model_dir, key)}")


def verify_signature(
    model_dir: ModelFolder,
    key: Annotated[Path, typer.Option(metavar="PUBLIC.pem", help="ed25519 public key in PEM.")],
) -> None:
    """Check the signature of model.yaml and the hashes of all files of the model."""
    from ad_compressed_perception.workspace.sign import verify_model

    manifest = verify_model(model_dir, key)
    print(f"signed by {key}, all files as signed: {manifest.name}, variants {', '.join(manifest.variants)}")
