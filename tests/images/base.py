"""A stand-in for `python:3.11-slim` where no image registry can be reached: a minimal Debian with its own Python.

It serves builds on this machine; published images are built on the real one (`--base python:3.11-slim@sha256:…`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

from cluster.progress import step
from images.image import ImageError
from images.packages import install

REPOSITORY = "localhost/embedding-operator-base"

_SUITE = "bookworm"  # the Debian whose python3 is 3.11, as the locked requirements have it
_PACKAGES = "python3,python3-venv,ca-certificates"
_UNNEEDED = (
    *("var/lib/apt/lists", "var/cache/apt", "var/cache/debconf", "var/log"),
    *("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "dev"),
)
_TAIL_CHARACTERS = 300


def reference_prefix() -> str:
    """Name of the stand-in up to the part that tells one making of it from the next."""
    recipe = sha256(repr((_SUITE, _PACKAGES, _UNNEEDED)).encode()).hexdigest()[:8]
    return f"{REPOSITORY}:{_SUITE}-{recipe}-"


def make(folder: Path) -> Path:
    """Write the root file system as a tar into `folder` (about 40 s) and return its path."""
    install("debootstrap")
    root, tar = folder / "root", folder / "root.tar"
    with step(f"base image: Debian {_SUITE} with Python, by debootstrap"):
        argv = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(root), *_mirror()]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", env={**os.environ, "LC_ALL": "C"})
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip()[-_TAIL_CHARACTERS:]
            raise ImageError(f"debootstrap failed; is a Debian mirror reachable? Its last words: {said}")
        for path in _UNNEEDED:
            _empty(root / path)
        subprocess.run(["tar", "-C", str(root), "--numeric-owner", "--sort=name", "-cf", str(tar), "."], check=True)
    return tar


def _empty(folder: Path) -> None:
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _mirror() -> list[str]:
    """The mirror of Debian that this machine installs packages from; without one, debootstrap chooses."""
    if shutil.which("apt-get") is None:
        return []
    argv = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(SITE)", "Created-By: Packages"]
    listed = subprocess.run(argv, capture_output=True, text=True).stdout.splitlines()
    return next(([line.split()[2]] for line in listed if line.startswith(f"Debian {_SUITE} ")), [])
