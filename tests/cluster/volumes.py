"""A pool of volumes that are wiped and given out again.

They are `local` volumes because these honour fsGroup, so that a pod which is not root can write to them. Nothing in
Kubernetes gives such a volume back once its claim is gone; that is what `cluster.reclaimer` is for.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cluster import layout

_LABEL = "local-cluster/pool"
_CAPACITY = "100Gi"  # a name for "enough": nothing measures it
_ASIDE = ".wiped-"
_ACCESS_MODES = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"]  # on one node any of them holds


def names() -> list[str]:
    return [f"pool-{number:02d}" for number in range(layout.VOLUME_COUNT)]


def ensure_folders() -> None:
    for name in names():
        (layout.VOLUMES / name).mkdir(parents=True, exist_ok=True)


def manifests() -> list[dict[str, Any]]:
    """The default StorageClass and the pool."""
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": layout.STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "reclaimPolicy": "Retain",  # what happens to a released volume is the reclaimer's to do
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    return [storage_class, *(_volume(name) for name in names())]


def _volume(name: str) -> dict[str, Any]:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [layout.NODE_NAME]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": {_LABEL: layout.NAME}},
        "spec": {
            "capacity": {"storage": _CAPACITY},
            "accessModes": _ACCESS_MODES,
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": layout.STORAGE_CLASS,
            "local": {"path": str(layout.VOLUMES / name)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }


def wipe(folder: Path) -> None:
    """Leave an empty folder with the owner and mode of a new one; killed half-way, it is still never half full."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=folder.parent))
    with contextlib.suppress(FileNotFoundError):
        folder.rename(aside / folder.name)
    folder.mkdir()
    shutil.rmtree(aside, ignore_errors=True)


def clear_half_wiped() -> None:
    for folder in layout.VOLUMES.glob(f"{_ASIDE}*"):
        shutil.rmtree(folder, ignore_errors=True)
