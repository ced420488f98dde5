"""OCI archives, written so that every container runtime finds the image by tag and by digest."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from images.image import ImageError

_NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_INDEX_TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")


@dataclass(frozen=True)
class Exported:
    """An image on its way out of an engine: its manifest, byte for byte, and a file for each blob, by digest."""

    manifest: bytes
    blobs: Mapping[str, Path]

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.manifest).hexdigest()}"

    @property
    def wanted(self) -> Sequence[str]:
        """Digests of the blobs that the manifest names: the configuration, then the layers from the bottom."""
        manifest: dict[str, Any] = json.loads(self.manifest)
        return [part["digest"] for part in (manifest["config"], *manifest["layers"])]


def read_dir(folder: Path) -> Exported:
    """What `dir:` transports leave: `manifest.json` and blobs named by the hexadecimal part of their digest."""
    blobs = {f"sha256:{file.name}": file for file in folder.iterdir() if len(file.name) == 64}
    return Exported((folder / "manifest.json").read_bytes(), blobs)


def read_layout(folder: Path) -> Exported:
    """An unpacked OCI image layout with one image, behind one or more indexes. ImageError if it is none."""
    blobs_dir = folder / "blobs" / "sha256"
    if not blobs_dir.is_dir():
        raise ImageError("this Docker engine saves images in its old format; version 25 or later writes OCI archives")
    blobs = {f"sha256:{file.name}": file for file in blobs_dir.iterdir()}
    descriptor: dict[str, Any] = json.loads((folder / "index.json").read_bytes())["manifests"][0]
    while descriptor["mediaType"] in _INDEX_TYPES:
        descriptor = json.loads(blobs[descriptor["digest"]].read_bytes())["manifests"][0]
    return Exported(blobs[descriptor["digest"]].read_bytes(), blobs)


def write(exported: Exported, archive: Path, *, names: Sequence[str]) -> None:
    """Write the archive, whole or not at all. The manifest stands in the index once for each name.

    An import by containerd (`ctr images import`, `kind load image-archive`) makes one image of each entry; with
    `repository@digest` among the names, a pod that pins the digest finds it without any flag of the importer.
    """
    media_type = json.loads(exported.manifest)["mediaType"]
    descriptor = {"mediaType": media_type, "digest": exported.digest, "size": len(exported.manifest)}
    entries = [{**descriptor, "annotations": dict.fromkeys(_NAME_ANNOTATIONS, name)} for name in names]
    unfinished = archive.with_name(f".{archive.name}.unfinished")
    with tarfile.open(unfinished, "w", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
        _add(tar, _blob_path(exported.digest), exported.manifest)
        for digest in dict.fromkeys(exported.wanted):
            tar.add(exported.blobs[digest], _blob_path(digest), filter=_anonymous)
    unfinished.replace(archive)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def _blob_path(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"
