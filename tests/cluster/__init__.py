"""A Kubernetes cluster for tests, with or without Docker, behind one small interface.

    from cluster import connect
    cluster = connect()          # host, kind or existing: `python -m cluster preflight` says which and why
    cluster.up()
    cluster.kubectl("get", "nodes")

The folder stands alone: it imports nothing of the project around it.
"""

from cluster.connect import connect
from cluster.interface import Capability, Cluster, ClusterError

__all__ = ["Capability", "Cluster", "ClusterError", "connect"]
