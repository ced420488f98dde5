"""How pip reaches its index on this machine, handed to builds as secrets so that no layer keeps it."""

from __future__ import annotations

import ast
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import certifi

_IN_BUILD_CA = "/run/build-ca.pem"
_DEBIAN_CA = Path("/etc/ssl/certs/ca-certificates.crt")
_NETWORK_KEYS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries")


@contextmanager
def build_secrets() -> Iterator[list[str]]:
    """`--secret` arguments for docker and buildah: this machine's pip settings and its certificate authorities."""
    with tempfile.TemporaryDirectory() as folder:
        pip, authorities = Path(folder, "pip.conf"), Path(folder, "ca.pem")
        pip.write_text(_pip_conf())
        authorities.write_bytes(_authorities())
        yield ["--secret", f"id=pip,src={pip}", "--secret", f"id=ca,src={authorities}"]


def _pip_conf() -> str:
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    settings = {"cert": _IN_BUILD_CA}
    for line in listed.splitlines():  # global.index-url='https://…', or :env:.index-url='…', the stronger ones last
        where, _, value = line.partition("=")
        key = where.rpartition(".")[2]
        if key in _NETWORK_KEYS:
            settings[key.removeprefix("default-")] = str(ast.literal_eval(value)).replace("\n", "\n    ")
    return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())


def _authorities() -> bytes:
    file = ssl.get_default_verify_paths().cafile
    candidates = [Path(file)] if file else []
    system = next((path for path in (*candidates, _DEBIAN_CA) if path.is_file()), Path(certifi.where()))
    return system.read_bytes()
