"""Archives as containerd's importer reads them."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from images import archive as oci
from images.image import Image, ImageError, load

LAYER = b"the files"
CONFIG = b'{"architecture": "amd64", "os": "linux"}'
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


MANIFEST = json.dumps(
    {"mediaType": OCI_MANIFEST, "config": {"digest": _digest(CONFIG)}, "layers": [{"digest": _digest(LAYER)}]}
).encode()


def _layout(folder: Path, *blobs: bytes) -> None:
    (folder / "blobs" / "sha256").mkdir(parents=True)
    for blob in blobs:
        (folder / "blobs" / "sha256" / _digest(blob).removeprefix("sha256:")).write_bytes(blob)


def _contents(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        files = {entry.name: tar.extractfile(entry) for entry in tar}
        return {name: file.read() for name, file in files.items() if file}


@pytest.fixture
def exported(tmp_path: Path) -> oci.Exported:
    folder = tmp_path / "dir"
    folder.mkdir()
    (folder / "manifest.json").write_bytes(MANIFEST)
    for blob in (LAYER, CONFIG):
        (folder / _digest(blob).removeprefix("sha256:")).write_bytes(blob)
    return oci.read_dir(folder)


def test_the_digest_of_the_manifest_survives(exported: oci.Exported, tmp_path: Path) -> None:
    oci.write(exported, tmp_path / "image.tar", names=("localhost/a:1",))
    files = _contents(tmp_path / "image.tar")
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["digest"] == _digest(MANIFEST) == exported.digest
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert _digest(content) == f"sha256:{Path(name).name}"
    assert {_digest(LAYER), _digest(CONFIG)} < {_digest(content) for content in files.values()}


def test_every_name_is_an_entry_of_its_own(exported: oci.Exported, tmp_path: Path) -> None:
    names = ("localhost/a:1", f"localhost/a@{exported.digest}")
    oci.write(exported, tmp_path / "image.tar", names=names)
    entries: list[dict[str, Any]] = json.loads(_contents(tmp_path / "image.tar")["index.json"])["manifests"]
    assert tuple(entry["annotations"]["io.containerd.image.name"] for entry in entries) == names


def test_an_image_behind_indexes_is_found(tmp_path: Path) -> None:
    inner = json.dumps({"manifests": [{"mediaType": OCI_MANIFEST, "digest": _digest(MANIFEST)}]}).encode()
    outer = json.dumps({"manifests": [{"mediaType": OCI_INDEX, "digest": _digest(inner)}]})
    _layout(tmp_path, MANIFEST, inner, LAYER, CONFIG)
    (tmp_path / "index.json").write_text(outer)
    assert oci.read_layout(tmp_path).manifest == MANIFEST


def test_the_format_of_an_old_docker_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(ImageError, match="version 25"):
        oci.read_layout(tmp_path)


def test_a_record_is_believed_only_beside_its_whole_archive(tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"0123456789")
    image = Image("image", "localhost/a:1", "sha256:ab", archive, 10, "cd")
    assert load(archive) is None
    image.save()
    assert load(archive) == image
    assert image.pinned == "localhost/a@sha256:ab"
    archive.write_bytes(b"01234")
    assert load(archive) is None
    image.save()
    (tmp_path / "image.json").write_text('{"name": "cut sho')
    assert load(archive) is None
