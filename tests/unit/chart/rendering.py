"""Renders the chart as `helm template` does. helm comes from the cluster tooling, which builds it once and keeps it."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cluster.binaries import program

CHART = Path(__file__).resolve().parents[3] / "charts" / "embedding-operator"
RELEASE = "eo"
NAMESPACE = "eo-system"

Manifest = dict[str, Any]


class RenderError(Exception):
    """helm refused the values; the message is what it said."""


@cache
def _helm_path() -> str:
    return str(program("helm"))


@cache
def helm(*args: str) -> str:
    """Standard output of helm. Raises RenderError."""
    done = subprocess.run([_helm_path(), *args], capture_output=True, text=True)
    if done.returncode != 0:
        raise RenderError(done.stdout + done.stderr)
    return done.stdout


def render(*values: str, release: str = RELEASE, namespace: str = NAMESPACE) -> list[Manifest]:
    """Manifests of `helm template`, with `--set-json` for each of `values`. Raises RenderError."""
    settings = [word for value in values for word in ("--set-json", value)]
    text = helm("template", release, str(CHART), "--namespace", namespace, "--kube-version", "1.34.0", *settings)
    return [manifest for manifest in yaml.load_all(text, Loader=yaml.CSafeLoader) if manifest]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def one(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = of_kind(manifests, kind)
    return found
