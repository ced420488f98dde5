"""buildah: images without a daemon, as root, on a bare machine or in a container.

All of its state lies in one folder of ours, so that whatever a killed build left there is ours to sweep away.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from images import base as stand_in
from images.archive import Exported, read_dir
from images.engine import Note, output, run_logged
from images.image import ImageError
from images.packages import install
from images.pip_settings import build_secrets
from images.recipes import CACHE, Recipe

_STORE = CACHE / "storage"
_PACKAGE = "buildah"
_BUILD = ("build", "--isolation", "chroot", "--network", "host", "--layers")


@dataclass(frozen=True)
class Buildah:
    """`keep_open`: file descriptors that a build holds to its end, even past the end of this process."""

    given_base: str | None
    keep_open: Sequence[int] = ()
    name: str = "buildah"

    def base(self, refresh: bool) -> str:
        if self.given_base:
            return self.given_base
        known = self._references(stand_in.REPOSITORY)
        wanted = stand_in.reference_prefix()
        found = next((reference for reference in known if reference.startswith(wanted)), None)
        return found if found and not refresh else self._make_stand_in(wanted)

    def build(self, recipe: Recipe, reference: str, arguments: Mapping[str, str], note: Note) -> None:
        self._output("rm", "--all")  # containers of builds that were killed
        flags = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
        target = ["--target", recipe.target] if recipe.target else []
        with build_secrets() as secrets:
            argv = self._command(
                *_BUILD,
                *("--timestamp", "0", "--tag", reference, *flags, *target, *secrets),
                *("--file", str(recipe.dockerfile), str(recipe.context)),
            )
            log = CACHE / "logs" / f"{recipe.name}.log"
            run_logged(argv, log, note, env=self._environment(), keep_open=self.keep_open)

    def export(self, reference: str, folder: Path) -> Exported:
        self._output("push", "--quiet", "--disable-compression", reference, f"dir:{folder}")
        return read_dir(folder)

    def prune(self, repository: str, keep: str) -> None:
        for reference in self._references(repository):
            if reference != keep:
                self._output("rmi", "--force", reference)
        self._output("rmi", "--prune")

    def _make_stand_in(self, wanted: str) -> str:
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            root_tar = stand_in.make(Path(folder))
            reference = f"{wanted}{sha256(root_tar.read_bytes()).hexdigest()[:8]}"
            dockerfile = Path(folder, "Dockerfile")
            dockerfile.write_text(f"FROM scratch\nADD {root_tar.name} /\n")
            self._output(*_BUILD, "--tag", reference, "--file", str(dockerfile), folder)
        self.prune(stand_in.REPOSITORY, reference)
        return reference

    def _references(self, repository: str) -> list[str]:
        if not (_STORE.is_dir() and shutil.which(_PACKAGE)):
            return []
        listed = json.loads(self._output("images", "--json") or "[]")
        names = [name for image in listed for name in image.get("names") or ()]
        return [name for name in names if name.rpartition(":")[0] == repository]

    def _output(self, *words: str) -> str:
        install(_PACKAGE)
        return output(self._command(*words), env=self._environment(), keep_open=self.keep_open)

    def _command(self, *words: str) -> list[str]:
        return [_PACKAGE, "--root", str(_STORE), "--runroot", str(_run_root()), *words]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "STORAGE_DRIVER": os.environ.get("STORAGE_DRIVER", "overlay")}


def _run_root() -> Path:
    """Where buildah counts its mounts: gone after a reboot, as they are."""
    name = f"eo-images-{sha256(str(_STORE).encode()).hexdigest()[:8]}"
    if os.geteuid() != 0:
        raise ImageError("without a Docker engine, images are built with buildah as root: sudo -E make images")
    return Path("/run") / name
