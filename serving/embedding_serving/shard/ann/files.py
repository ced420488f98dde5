"""Files of the cache: written temp -> fsync -> rename -> fsync of the directory, and known by length and checksum."""

import logging
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import orjson
from pydantic import Field, ValidationError

from ...contract.index import Distance, IndexOptions
from ...contract.model import Frozen
from .depths import Depths
from .engines import EngineSpec
from .errors import DamagedCacheError

logger = logging.getLogger(__name__)

FORMAT = 1
MANIFEST = "manifest.json"
CHUNK_BYTES = 8 << 20
TEMPORARY = ".part"


class FileStamp(Frozen):
    """A file of the cache: the first `length` bytes have this CRC-32. Every flipped bit changes it."""

    name: str = Field(pattern=r"^[a-z0-9-]+\.[a-z0-9]+$")
    length: int = Field(ge=0)
    checksum: int

    def verify(self, directory: Path) -> None:
        """Raises DamagedCacheError where the file is missing, short or changed."""
        path = directory / self.name
        try:
            found = stamp(path, self.length)
        except OSError as error:
            raise DamagedCacheError(f"{self.name}: {error.strerror or error}") from None
        if found.length != self.length:
            raise DamagedCacheError(f"{self.name} has {found.length} bytes, {self.length} expected")
        if found.checksum != self.checksum:
            raise DamagedCacheError(f"{self.name} is changed: checksum {found.checksum:08x}, {self.checksum:08x} expected")


class EngineFiles(Frozen):
    """What a build made in front of the slots [0, count)."""

    spec: EngineSpec
    options: IndexOptions
    count: int = Field(ge=1)
    main: FileStamp
    tail: FileStamp
    depths: Depths
    tail_depths: Depths


class Manifest(Frozen):
    """Which files are the cache, and how far they go. The one file that is replaced; all others are named by number."""

    format: int
    dimensions: int
    distance: Distance
    identity: str
    number: int = Field(ge=0, description="Number of the vectors file.")
    count: int = Field(ge=0, description="Slots that are covered.")
    covered: int = Field(description="Highest row number among them.")
    vectors: FileStamp
    rows: FileStamp
    engine: EngineFiles | None = None


def checksum(data: memoryview | bytes, start: int = 0) -> int:
    """CRC-32 continued from `start`; frees the GIL."""
    return zlib.crc32(data, start)


def stamp(path: Path, length: int | None = None) -> FileStamp:
    """Of the first `length` bytes, or all. Raises OSError."""
    found, crc = 0, 0
    with path.open("rb", buffering=0) as file:
        while length is None or found < length:
            data = file.read(CHUNK_BYTES if length is None else min(CHUNK_BYTES, length - found))
            if not data:
                break
            crc = checksum(data, crc)
            found += len(data)
    return FileStamp(name=path.name, length=found, checksum=crc)


def write_durably(path: Path, write: Callable[[Path], None]) -> None:
    """`write` fills a temporary file, which then takes the name at once. Raises OSError; no half file has the name."""
    temporary = path.with_name(path.name + TEMPORARY)
    write(temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Raises OSError."""
    body = manifest.model_dump_json().encode()
    line = orjson.dumps({"checksum": checksum(body)})
    write_durably(directory / MANIFEST, lambda path: _write_bytes(path, line + b"\n" + body))


def read_manifest(directory: Path) -> Manifest | None:
    """None where there is none. Raises DamagedCacheError where it can't be trusted."""
    try:
        data = (directory / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedCacheError(f"{MANIFEST}: {error.strerror or error}") from None
    line, _, body = data.partition(b"\n")
    try:
        expected = orjson.loads(line)["checksum"]
        if expected != checksum(body):
            raise DamagedCacheError(f"{MANIFEST} is changed")
        return Manifest.model_validate_json(body)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValidationError) as error:
        raise DamagedCacheError(f"{MANIFEST} is not a manifest: {type(error).__name__}") from None


def names_in(directory: Path) -> list[str]:
    """Empty where the directory can't be read: a cache that isn't there is an empty one."""
    try:
        return [path.name for path in directory.iterdir()]
    except OSError:
        return []


def sweep(directory: Path, keep: set[str]) -> None:
    """Deletes what no manifest names: left by killed builds, or replaced."""
    for name in names_in(directory):
        if name not in keep:
            try:
                (directory / name).unlink(missing_ok=True)
            except OSError as error:
                logger.warning("a file of the index cache stays", extra={"file": name, "error": str(error)})


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)
