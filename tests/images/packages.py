"""Programs that builds need, from the distribution where they are missing."""

from __future__ import annotations

import os
import shutil
import subprocess

from cluster.progress import step
from images.image import ImageError


def install(*programs: str) -> None:
    """Make sure that each program, named as its Debian package, is there. ImageError says what to install by hand."""
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    by_hand = f"install {' and '.join(missing)} (apt-get install {' '.join(missing)}), or start a Docker engine"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ImageError(f"images need {' and '.join(missing)}: {by_hand}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step(f"installing {' and '.join(missing)}"):
        for words in (["update", "-qq"], ["install", "-qq", "--yes", "--no-install-recommends", *missing]):
            done = subprocess.run(["apt-get", *words], capture_output=True, text=True, env=quiet)
        if done.returncode != 0:
            raise ImageError(f"apt-get could not install {' '.join(missing)} ({done.stderr.strip()[-200:]}): {by_hand}")
