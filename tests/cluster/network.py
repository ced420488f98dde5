"""The node's network: one bridge, and two ranges of which no packet may ever leave the machine."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from cluster import layout
from cluster.command import run
from cluster.interface import ClusterError

_CHAINS_OF_OTHERS = ("KUBE-", "CNI-")  # kube-proxy, kubelet and the CNI plugins name theirs so
_TABLES = ("filter", "nat", "mangle", "raw")
_CHAIN = layout.NAME.upper()
_FALLBACK_METRIC = "4096"  # loses to every real route


def close_ranges() -> None:
    """Refuse the pod and service ranges wherever no better route is: before the bridge, and for good after it."""
    for network in (layout.POD_RANGE, layout.SERVICE_RANGE):
        run(["ip", "route", "replace", "unreachable", network, "metric", _FALLBACK_METRIC])


def ensure_bridge() -> bool:
    """Have the bridge up with the node's address. True if it was not there: older pods have lost their link."""
    close_ranges()
    created = not bridge_exists()
    if created:
        run(["ip", "link", "add", layout.BRIDGE, "type", "bridge"])
    length = layout.POD_RANGE.partition("/")[2]
    run(["ip", "address", "replace", f"{layout.NODE_IP}/{length}", "dev", layout.BRIDGE])
    run(["ip", "link", "set", layout.BRIDGE, "up"])
    # Service addresses are rewritten before they are sent, but only if there is a route for them. An address that no
    # Service has is asked for on the bridge, and no one answers.
    run(["ip", "route", "replace", layout.SERVICE_RANGE, "dev", layout.BRIDGE])
    _set("net/ipv4/ip_forward", "1")
    # Replies between two pods on the bridge must pass the address rewriting too.
    _set("net/bridge/bridge-nf-call-iptables", "1")
    _ensure_forwarding()
    return created


def bridge_exists() -> bool:
    return Path("/sys/class/net", layout.BRIDGE).exists()


def remove() -> None:
    """Take away bridge, pod links and packet rules. The refusing routes stay: they are what keeps late packets in."""
    close_ranges()
    for link in links():
        run(["ip", "link", "delete", link], check=False)
    for command in ("iptables", "ip6tables"):
        for table in _TABLES:
            _remove_rules(command, table)


def links() -> list[str]:
    """The bridge, and every pod's link that hangs on it."""
    ports = Path("/sys/class/net", layout.BRIDGE, "brif")
    found = sorted(port.name for port in ports.iterdir()) if ports.is_dir() else []
    return [*found, layout.BRIDGE] if bridge_exists() else found


def chains() -> list[str]:
    """Chains of packet rules that belong to the cluster, as `iptables nat KUBE-SERVICES`."""
    return [
        f"{command} {table} {chain}"
        for command in ("iptables", "ip6tables")
        for table in _TABLES
        for chain in _chains(_rules(command, table))
    ]


def _ensure_forwarding() -> None:
    """Let pods through also where the policy of FORWARD is to drop, as Docker sets it."""
    forward = ["iptables", "-w", "-t", "filter"]
    if f":{_CHAIN} " not in _rules("iptables", "filter"):
        run([*forward, "-N", _CHAIN])
    for rule in (["-i", layout.BRIDGE, "-j", "ACCEPT"], ["-o", layout.BRIDGE, "-j", "ACCEPT"]):
        if f"-A {_CHAIN} {' '.join(rule)}" not in _rules("iptables", "filter"):
            run([*forward, "-A", _CHAIN, *rule])
    if f"-A FORWARD -j {_CHAIN}" not in _rules("iptables", "filter"):
        run([*forward, "-I", "FORWARD", "-j", _CHAIN])


def _rules(command: str, table: str) -> str:
    saver = shutil.which(f"{command}-save")
    return run([saver, "-t", table], check=False) if saver else ""  # a machine without it has no rules


def _chains(rules: str) -> list[str]:
    names = [line[1:].split()[0] for line in rules.splitlines() if line.startswith(":")]
    return [name for name in names if name == _CHAIN or name.startswith(_CHAINS_OF_OTHERS)]


def _remove_rules(command: str, table: str) -> None:
    rules = _rules(command, table)
    ours = _chains(rules)
    if not ours:
        return
    gone = set(ours)
    script = [f"*{table}", *(f":{chain} - [0:0]" for chain in ours)]  # naming a chain empties it
    for line in rules.splitlines():
        words = line.split()
        if line.startswith("-A ") and words[1] not in gone and _mentions(words, gone):
            script.append("-D" + line[2:])
    script += [f"-X {chain}" for chain in ours] + ["COMMIT", ""]
    run([f"{command}-restore", "-w", "--noflush"], input="\n".join(script))


def _mentions(words: list[str], chains: set[str]) -> bool:
    return any(target in chains for flag, target in itertools.pairwise(words) if flag in ("-j", "-g"))


def _set(name: str, value: str) -> None:
    path = Path("/proc/sys") / name
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError as error:
        raise ClusterError(f"the kernel setting {name} cannot be set: {error}") from error
