"""`python -m embedding_serving prepare | embed | shard | gateway | analyse | local`: one image, a command a role."""

import os
import sys
from collections.abc import Callable

ROLES = ("prepare", "embed", "shard", "gateway", "analyse")


def main(argv: list[str] | None = None) -> int:
    args = sys.argv[1:] if argv is None else argv
    if args and args[0] == "local":
        return _local(args[1:])
    if len(args) != 1 or args[0] not in ROLES:
        print(
            f"usage: python -m embedding_serving {' | '.join(ROLES)} | local   (settings come from the environment)",
            file=sys.stderr,
        )
        return 2
    return _role(args[0])()


def _role(name: str) -> Callable[[], int]:
    """Imports only what the role needs: `prepare` starts without a web server, `embed` without a hub client."""
    _quiet()
    if name == "prepare":
        from .prepare.main import main as prepare

        return prepare
    if name == "shard":
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        from .shard.main import main as shard

        return shard
    if name == "gateway":
        from .gateway.main import main as gateway

        return gateway
    if name == "analyse":
        from .analyse.main import main as analyse

        return analyse
    from .embed.main import main as embed

    return embed


def _local(args: list[str]) -> int:
    _quiet()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from .local.main import main as local

    return local(args)


def _quiet() -> None:
    """Threads that wait sleep, and nobody reports to anybody."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # imported as absent


if __name__ == "__main__":
    sys.exit(main())
