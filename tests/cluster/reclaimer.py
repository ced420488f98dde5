"""The cluster's volume-reclaimer process: wipes released volumes of the pool and offers them again."""

from __future__ import annotations

import http.client
import sys
import time
from typing import Any

from cluster import layout, volumes
from cluster.kubeapi import KubeApi

_PATH = "/api/v1/persistentvolumes"
_RETRY_SECONDS = 1.0


def to_reclaim(volume: dict[str, Any]) -> bool:
    """Whether its claim is gone. Once we have dropped the reference, the phase lags behind for a moment."""
    released = volume.get("status", {}).get("phase") == "Released" and "claimRef" in volume["spec"]
    return released and volume["metadata"]["name"] in volumes.names()


def reclaim(volume: dict[str, Any], api: KubeApi) -> None:
    name = volume["metadata"]["name"]
    volumes.wipe(layout.VOLUMES / name)
    version = volume["metadata"]["resourceVersion"]  # a volume that changed meanwhile is refused, and seen again
    api.merge(f"{_PATH}/{name}", {"metadata": {"resourceVersion": version}, "spec": {"claimRef": None}})
    print(f"{name}: wiped, available again", flush=True)


def run() -> None:
    """For ever; a server that is away is tried again."""
    volumes.clear_half_wiped()
    while True:
        try:
            api = KubeApi("volume-reclaimer")
            for volume in api.watch(_PATH):
                if to_reclaim(volume):
                    reclaim(volume, api)
        except (OSError, http.client.HTTPException, ValueError) as error:
            print(f"will try again: {error}", file=sys.stderr, flush=True)
            time.sleep(_RETRY_SECONDS)


if __name__ == "__main__":
    run()
