"""`python -m embedding_operator run | crds | docs`."""

import asyncio
import logging
import sys

from pydantic import ValidationError

USAGE = """usage: python -m embedding_operator COMMAND
  run              watch and reconcile (settings come from the environment)
  crds [--check]   write crds/ from the models
  docs [--check]   write docs/reference.md and docs/settings.md from the models"""


def main(argv: list[str] | None = None) -> int:
    command, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    match command:
        case "run" if not rest:
            return _run()
        case "crds":
            from . import crd

            return crd.main(rest)
        case "docs":
            from . import reference

            return reference.main(rest)
    print(USAGE, file=sys.stderr)
    return 2


def _run() -> int:
    import uvloop

    from . import logs
    from .admin_key import UnusableKey
    from .kube import KubeError
    from .run import NotInstalled, run
    from .settings import OperatorSettings

    try:
        settings = OperatorSettings()
        logs.set_up(settings.log_level)
    except (ValidationError, ValueError) as error:
        print(f"settings: {error}", file=sys.stderr)
        return 2
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run(settings))
    except (NotInstalled, UnusableKey, KubeError, OSError) as error:
        logging.getLogger(__name__).critical("can't start: %s", error)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
