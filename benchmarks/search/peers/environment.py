"""What peers need and the product does not: their clients' Python packages, and a Debian that has pgvector.

Both are made once and cached. Raises PeerMissing, which says why a peer can't be measured here.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..cache import cache_dir

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
REPOSITORY = Path(__file__).resolve().parents[3]
DEBIAN_SUITE = "trixie"
DEBIAN_MIRROR = "http://deb.debian.org/debian"
POSTGRES_PACKAGES = "postgresql-17,postgresql-17-pgvector"


class PeerMissing(Exception):
    """A peer cannot be had on this machine."""


def peers_python() -> Path:
    """The interpreter whose environment has the peers' clients."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = cache_dir() / f"peers-{digest}"
    with _alone():
        if not (folder / "complete").exists():
            venv.create(folder, clear=True, with_pip=True)
            python = str(folder / "bin" / "python")
            _run([python, "-m", "pip", "install", "-q", "--require-hashes", "-r", str(REQUIREMENTS)])
            (folder / "complete").touch()
    return folder / "bin" / "python"


def debian_with_postgres() -> Path:
    """Root of a Debian with PostgreSQL 17 and pgvector. Needs root and debootstrap."""
    root = cache_dir() / f"debian-{DEBIAN_SUITE}"
    with _alone():
        if root.exists():
            return root
        if os.geteuid() or not shutil.which("debootstrap"):
            raise PeerMissing("pgvector comes from Debian 13: run as root, with debootstrap installed")
        partial = root.with_name(f"{root.name}.partial")
        if any(line.split()[1].startswith(str(partial)) for line in Path("/proc/mounts").read_text().splitlines()):
            raise PeerMissing(f"something is still mounted in {partial}: unmount it")
        shutil.rmtree(partial, ignore_errors=True)
        print(f"installing {POSTGRES_PACKAGES} of Debian {DEBIAN_SUITE} (once, some minutes) …", file=sys.stderr)
        include = f"--include={POSTGRES_PACKAGES}"
        _run(["debootstrap", "--variant=minbase", include, DEBIAN_SUITE, str(partial), DEBIAN_MIRROR])
        partial.rename(root)
    return root


def client_command(module: str, *arguments: str) -> list[str]:
    """Runs a client of this benchmark under the peers' Python, from the root of the repository."""
    return [str(peers_python()), "-m", f"benchmarks.search.peers.{module}", *arguments]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with (cache_dir() / "peers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise PeerMissing(f"{command[0]} failed: {' / '.join(last)}")
