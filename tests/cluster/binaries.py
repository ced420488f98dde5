"""The cluster's programs, built once from their Go modules and kept under the hash of what they were built from."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster import layout
from cluster.command import run
from cluster.interface import ClusterError
from cluster.progress import Step, step

_KEPT_BUILDS = 3
_VERSION = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Tool:
    """A folder under go/, what to build in it, and the names that the binary answers to."""

    name: str
    package: str = "."
    variables: dict[str, str] = field(default_factory=dict)  # set with the linker's -X
    links: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        return layout.SOURCE / "go" / self.name

    @property
    def flags(self) -> list[str]:
        stamps = "".join(f" -X {name}={value}" for name, value in self.variables.items())
        return ["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", f"-s -w{stamps}"]


KUBERNETES = Tool(
    "kubernetes",
    # Unstamped, the server calls itself v0.0.0 and charts with a kubeVersion refuse it.
    variables={f"{_VERSION}.gitVersion": "v1.34.4", f"{_VERSION}.gitMajor": "1", f"{_VERSION}.gitMinor": "34"},
    links=(
        "coredns",
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubectl",
        "kubelet",
    ),
)
METRICS_SERVER = Tool("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server")
HELM = Tool("helm", "helm.sh/helm/v3/cmd/helm", {"helm.sh/helm/v3/internal/version.version": "v3.22.0"})
PAUSE = Tool("pause")
TESTBOX = Tool("testbox")
TOOLS = (KUBERNETES, METRICS_SERVER, HELM, PAUSE, TESTBOX)


@functools.cache
def program(name: str) -> Path:
    """The built program of this name (kubectl, etcd, helm, …); builds its tool if that has not been done."""
    for tool in TOOLS:
        if name == tool.name or name in tool.links:
            return build(tool) / name
    raise ClusterError(f"{name}: no tool under {layout.SOURCE / 'go'} gives this program")


def built(tool: Tool) -> Path | None:
    """The folder of the finished build of the present sources, or None."""
    sources = _source_hash(tool)
    if shutil.which("go"):
        folder = layout.cache() / tool.name / f"{sources}-{_go_version()}"
        return folder if (folder / tool.name).is_file() else None
    # Without Go nothing can be built; what any Go built from these sources will do.
    finished = (layout.cache() / tool.name).glob(f"{sources}-*/{tool.name}")
    return next((path.parent for path in finished), None)


def build(tool: Tool) -> Path:
    """The folder with the tool's binary and its links, building it if need be."""
    folder = built(tool)
    if folder is None:
        if not shutil.which("go"):
            raise ClusterError(f"{tool.name} is not built yet and Go is missing: install Go 1.26 or newer")
        with _only_one_build():
            folder = built(tool) or _build(tool)
    _link(folder, tool)
    return folder


def _source_hash(tool: Tool) -> str:
    digest = hashlib.sha256(repr(tool.package).encode() + repr(tool.flags).encode())
    for path in sorted(tool.source.iterdir()):
        if path.suffix == ".go" or path.name in ("go.mod", "go.sum"):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _go_version() -> str:
    return run(["go", "env", "GOVERSION"]).strip()


@contextmanager
def _only_one_build() -> Iterator[None]:
    layout.cache().mkdir(parents=True, exist_ok=True)
    with (layout.cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(tool: Tool) -> Path:
    folder = layout.cache() / tool.name / f"{_source_hash(tool)}-{_go_version()}"
    folder.mkdir(parents=True, exist_ok=True)
    for abandoned in folder.glob(f".{tool.name}.*"):
        abandoned.unlink()
    # The number keeps it apart from what the orphaned compiler of a killed build may still write.
    unfinished = folder / f".{tool.name}.{os.getpid()}"
    log = layout.cache() / f"build-{tool.name}.log"
    with step(f"building {tool.name}, once") as progress, log.open("w") as output:
        argv = ["go", "build", "-v", *tool.flags, "-o", str(unfinished), tool.package]
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
        with subprocess.Popen(
            argv, cwd=tool.source, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            last = _follow(process, progress, output.write)
        if process.returncode != 0:
            raise ClusterError(f"go build of {tool.name} failed: {last}; all its words are in {log}")
    unfinished.replace(folder / tool.name)  # a killed build leaves no half binary under the real name
    _drop_old_builds(folder.parent)
    return folder


def _drop_old_builds(folder: Path) -> None:
    """Keep a few, for branches that differ; what still runs keeps its file open."""
    for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-_KEPT_BUILDS]:
        shutil.rmtree(old, ignore_errors=True)


def _follow(process: subprocess.Popen[str], progress: Step, write: Callable[[str], object]) -> str:
    """Count packages while they are downloaded and compiled; return the last line."""
    last, downloaded, compiled = "", 0, 0
    assert process.stdout is not None
    for line in process.stdout:
        write(line)
        last = line.strip() or last
        if line.startswith("go: downloading"):
            downloaded += 1
        else:
            compiled += 1
        progress.note(f"{downloaded} modules downloaded, {compiled} packages compiled")
    return last


def _link(folder: Path, tool: Tool) -> None:
    for name in tool.links:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(tool.name)
