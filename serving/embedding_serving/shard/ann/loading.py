"""From the files of a snapshot to the index in memory, or a reason why not."""

from pathlib import Path

from ...contract.index import Distance
from .engines import FaissEngine
from .errors import DamagedCacheError
from .files import FORMAT, EngineFiles, Manifest, read_manifest
from .gate import Gate
from .view import Main, Tail


def read_trusted_manifest(directory: Path, dimensions: int, distance: Distance, identity: str) -> Manifest | None:
    """None where there is no snapshot. Raises DamagedCacheError where it, or the vectors, are not as they were left."""
    manifest = read_manifest(directory)
    if manifest is None:
        return None
    expected = {"format": FORMAT, "dimensions": dimensions, "distance": distance, "identity": identity}
    for name, value in expected.items():
        if getattr(manifest, name) != value:
            raise DamagedCacheError(f"the snapshot's {name} is {getattr(manifest, name)!r}, {value!r} expected")
    manifest.vectors.verify(directory)
    manifest.rows.verify(directory)
    return manifest


def load_engine(directory: Path, files: EngineFiles, dimensions: int) -> tuple[Main, Tail]:
    """Raises DamagedCacheError."""
    files.main.verify(directory)
    files.tail.verify(directory)
    try:
        engine = FaissEngine.load(directory / files.main.name, dimensions)
        tail = FaissEngine.load(directory / files.tail.name, dimensions).blank()
    except RuntimeError as error:
        raise DamagedCacheError(f"FAISS can't read the index: {str(error)[:200]}") from None
    if engine.count != files.count:
        raise DamagedCacheError(f"{files.main.name} holds {engine.count} vectors, {files.count} expected")
    main = Main(engine, files.spec, files.count, files.depths)
    return main, Tail(tail, tail.blank(), files.count, files.tail_depths, Gate())
