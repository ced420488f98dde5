"""A Docker engine. The interface is the same as buildah's; only the name of the base image differs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from images.archive import Exported, read_layout
from images.engine import Note, output, run_logged
from images.pip_settings import build_secrets
from images.recipes import CACHE, Recipe

_REGISTRY_BASE = "python:3.11-slim"
_PROBE_SECONDS = 10


@dataclass(frozen=True)
class Docker:
    """`keep_open`: file descriptors that a build holds to its end, even past the end of this process."""

    given_base: str | None
    keep_open: Sequence[int] = ()
    name: str = "docker"

    def base(self, refresh: bool) -> str:
        chosen = self.given_base or _REGISTRY_BASE
        if refresh:
            output(["docker", "pull", "--quiet", chosen])
        return chosen

    def build(self, recipe: Recipe, reference: str, arguments: Mapping[str, str], note: Note) -> None:
        flags = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
        target = ["--target", recipe.target] if recipe.target else []
        with build_secrets() as secrets:
            argv = ["docker", "build", "--progress", "plain", "--provenance=false", "--tag", reference]
            argv += [*flags, *target, *secrets, "--file", str(recipe.dockerfile), str(recipe.context)]
            log = CACHE / "logs" / f"{recipe.name}.log"
            run_logged(argv, log, note, env={**os.environ, "DOCKER_BUILDKIT": "1"}, keep_open=self.keep_open)

    def export(self, reference: str, folder: Path) -> Exported:
        saved = folder / "saved.tar"
        output(["docker", "save", "--output", str(saved), reference])
        with tarfile.open(saved) as tar:
            tar.extractall(folder, filter="data")
        saved.unlink()
        return read_layout(folder)

    def prune(self, repository: str, keep: str) -> None:
        """The old tags only: dangling layers of a shared engine are its owner's."""
        listed = output(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository])
        if old := [reference for reference in listed.split() if reference != keep]:
            output(["docker", "image", "rm", *old])


def answers() -> bool:
    """Whether a Docker engine is there and answers."""
    if shutil.which("docker") is None:
        return False
    try:
        argv = ["docker", "version", "--format", "{{.Server.Version}}"]
        done = subprocess.run(argv, capture_output=True, timeout=_PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
