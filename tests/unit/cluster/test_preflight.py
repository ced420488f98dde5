from __future__ import annotations

import pytest

from cluster.preflight import Finding, clashes


@pytest.mark.parametrize(
    ("route", "taken"),
    [
        ("default via 192.0.2.1 dev eth0", False),
        ("192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.2", False),
        ("10.244.0.0/16 dev eo-cluster proto kernel scope link src 10.244.0.1", False),
        ("unreachable 10.96.0.0/16 metric 4096", False),
        ("10.0.0.0/8 via 192.0.2.9 dev tun0", True),
        ("10.244.7.0/24 dev flannel.1", True),
        ("10.96.0.10 dev tun0", True),
    ],
)
def test_a_route_of_somebody_elses_into_our_ranges_is_seen(route: str, taken: bool) -> None:
    assert clashes(route) is taken


def test_a_finding_says_what_to_do_and_who_does_it() -> None:
    assert str(Finding("root", "yes")) == "  ok    root: yes"
    assert str(Finding("root", "no", "use sudo")) == "  NO    root: no; use sudo"
    assert str(Finding("tools", "unbuilt", "build them", automatic=True)) == ("  later tools: unbuilt; `up` does: build them")
    assert not Finding("root", "no", "use sudo").ok
    assert Finding("tools", "unbuilt", "build them", automatic=True).ok
