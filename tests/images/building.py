"""Building what has changed, and nothing else."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.progress import step
from images import archive as oci
from images import docker
from images.buildah import Buildah
from images.engine import ENGINE_ENV, Engine
from images.image import Image, ImageError, load
from images.recipes import CACHE, OPERATOR, ROOT, SERVING, TORCH, Recipe, minilm, model

BASE_ENV = "EO_BASE_IMAGE"
EVERYDAY = ("operator", "serving", "model")
"""What the demo, the CPU pods and the tests need."""
ALL = (*EVERYDAY, "torch")

_TAG_LENGTH = 12


def build(*names: str, base: str | None = None, refresh: bool = False) -> dict[str, Image]:
    """The named images (of ALL; none = EVERYDAY), each built if its inputs have changed.

    `base` is the image to build on (default: the environment's EO_BASE_IMAGE, then the engine's own choice); `refresh`
    makes or pulls it anew. Raises ImageError.
    """
    if unknown := [name for name in names if name not in ALL]:
        raise ImageError(f"there is no image {unknown[0]!r}; there are {', '.join(ALL)}")
    with _engine(base) as engine:
        chosen = engine.base(refresh)
        return {name: _ensure(_recipe(name), engine, chosen) for name in names or EVERYDAY}


def model_image(name: str, directory: Path) -> Image:
    """`localhost/embedding-operator-model-<name>`: the files of `directory`, under MODEL_PATH. Raises ImageError."""
    return build_recipe(model(name, directory))


def build_recipe(recipe: Recipe) -> Image:
    """The image of a recipe, built if its inputs have changed. Raises ImageError."""
    with _engine(None) as engine:
        return _ensure(recipe, engine, engine.base(refresh=False))


def base_image(base: str | None = None, *, refresh: bool = False) -> str:
    """Name of the image that the others are built on, made or pulled where it is missing."""
    with _engine(base) as engine:
        return engine.base(refresh)


def _recipe(name: str) -> Recipe:
    return minilm() if name == "model" else {"operator": OPERATOR, "serving": SERVING, "torch": TORCH}[name]


def _ensure(recipe: Recipe, engine: Engine, base: str) -> Image:
    version = _version()
    input_hash = recipe.input_hash(base, version)
    known = load(recipe.archive)
    if known and known.input_hash == input_hash:
        return known
    reference = f"{recipe.repository}:{input_hash[:_TAG_LENGTH]}"
    arguments = {"BASE_IMAGE": base, "VERSION": version, "REVISION": input_hash}
    with step(f"image {recipe.name} ({engine.name})") as progress:
        engine.build(recipe, reference, arguments, progress.note)
        progress.note("writing the archive")
        image = _archive(recipe, engine, reference, input_hash)
        engine.prune(recipe.repository, keep=reference)
    return image


def _archive(recipe: Recipe, engine: Engine, reference: str, input_hash: str) -> Image:
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="export-") as folder:
        exported = engine.export(reference, Path(folder))
        image = Image(
            name=recipe.name,
            reference=reference,
            digest=exported.digest,
            archive=recipe.archive,
            bytes_=sum(exported.blobs[digest].stat().st_size for digest in exported.wanted[1:]),
            input_hash=input_hash,
        )
        oci.write(exported, recipe.archive, names=(reference, image.pinned))
    image.save()
    return image


def _version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


@contextmanager
def _engine(base: str | None) -> Iterator[Engine]:
    """The engine of this machine, ours alone while the block runs.

    A build inherits the lock: after a SIGKILL to this process it goes on alone, and the next one waits for its end
    instead of fighting over the same storage.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    lock = os.open(CACHE / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("images: another build is under way, waiting for its end", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        _sweep()
        yield _choose(base or os.environ.get(BASE_ENV) or None, keep_open=(lock,))
    finally:
        os.close(lock)


def _sweep() -> None:
    """Remove what a killed build left half written."""
    for leftover in (*CACHE.glob("export-*"), *CACHE.glob("tmp*")):
        shutil.rmtree(leftover, ignore_errors=True)
    for leftover in CACHE.glob(".*.unfinished"):
        leftover.unlink()


def _choose(base: str | None, *, keep_open: Sequence[int]) -> Engine:
    wanted = os.environ.get(ENGINE_ENV)
    if wanted not in (None, "docker", "buildah"):
        raise ImageError(f"{ENGINE_ENV}={wanted}: it is docker or buildah")
    if wanted == "docker" or (wanted is None and docker.answers()):
        return docker.Docker(base, keep_open)
    return Buildah(base, keep_open)
