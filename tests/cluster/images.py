"""Images as OCI archives: what is in one, and how to make one from a single static program."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.interface import ClusterError

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(frozen=True)
class ArchivedImage:
    """An image's name and the digest of its manifest (`sha256:…`)."""

    reference: str
    digest: str


def archived_image(archive: Path) -> ArchivedImage:
    """What image an OCI archive holds. ClusterError if it is no such archive, or its image has no name."""
    try:
        with tarfile.open(archive) as tar:
            index_file = tar.extractfile("index.json")
            index: dict[str, Any] = json.load(index_file) if index_file else {}
    except (OSError, KeyError, tarfile.TarError, ValueError) as error:
        raise ClusterError(f"{archive} is not an OCI archive: {error}") from error
    for manifest in index.get("manifests", []):
        annotations = manifest.get("annotations", {})
        for name in _NAME_ANNOTATIONS:
            if name in annotations:
                return ArchivedImage(annotations[name], manifest["digest"])
    raise ClusterError(f"the image in {archive} has no name; push it as oci-archive:FILE:NAME")


def archive_program(program: Path, reference: str, archive: Path) -> ArchivedImage:
    """Write an archive of an image that holds this static program as /<its name> and runs it, as nobody."""
    layer = _layer(program)
    config = {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": "65534:65534", "Env": ["PATH=/"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    blobs = [layer, _json(config)]
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", blobs[1]),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    }
    blobs.append(_json(manifest))
    named = {**_descriptor(_MANIFEST, blobs[2]), "annotations": dict.fromkeys(_NAME_ANNOTATIONS, reference)}
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_name(f".{archive.name}.{os.getpid()}")
    with tarfile.open(unfinished, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _json({"schemaVersion": 2, "manifests": [named]}))
        for blob in blobs:
            _add(tar, f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}", blob)
    unfinished.replace(archive)
    return ArchivedImage(reference, named["digest"])


def _layer(program: Path) -> bytes:
    """A tar with the program in it; the same program gives the same bytes."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        _add(tar, program.name, program.read_bytes(), mode=0o755)
    return content.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True).encode()
