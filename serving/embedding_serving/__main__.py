"""`python -m embedding_serving prepare | embed | shard | gateway`: one image, a command a role."""

import os
import sys
from collections.abc import Callable

ROLES = ("prepare", "embed", "shard", "gateway")


def main(argv: list[str] | None = None) -> int:
    args = sys.argv[1:] if argv is None else argv
    if len(args) != 1 or args[0] not in ROLES:
        print(f"usage: python -m embedding_serving {' | '.join(ROLES)}   (settings come from the environment)", file=sys.stderr)
        return 2
    return _role(args[0])()


def _role(name: str) -> Callable[[], int]:
    """Imports only what the role needs: `prepare` starts without a web server, `embed` without a hub client."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # imported as absent: engines report to nobody
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
    from .embed.main import main as embed

    return embed


if __name__ == "__main__":
    sys.exit(main())
