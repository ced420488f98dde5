"""A built image, and the record of it that lies beside its archive."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


class ImageError(Exception):
    """Something a person has to mend. The message is one line and says what to do next."""


@dataclass(frozen=True)
class Image:
    """One image, as it lies in its OCI archive."""

    name: str
    reference: str
    """`localhost/<repository>:<tag>`; the tag is the hash of the inputs, so a change of them rolls the pods."""
    digest: str
    """Of the manifest, `sha256:…`; a container runtime that imports the archive keeps it."""
    archive: Path
    bytes_: int
    """Unpacked size: what the layers take on a node that has none of them."""
    input_hash: str

    @property
    def pinned(self) -> str:
        """The reference by digest; the archive carries this name too."""
        return f"{self.reference.rpartition(':')[0]}@{self.digest}"

    def save(self) -> None:
        record = {**asdict(self), "archive": self.archive.name, "archive_bytes": self.archive.stat().st_size}
        _record(self.archive).write_text(json.dumps(record, indent=2) + "\n")


def load(archive: Path) -> Image | None:
    """The image that `archive` is known to hold; None where it or its record is missing, cut short or foreign."""
    try:
        record = json.loads(_record(archive).read_text())
        whole = archive.stat().st_size == record.pop("archive_bytes")
        return Image(**{**record, "archive": archive}) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _record(archive: Path) -> Path:
    return archive.with_suffix(".json")
