"""JSON lines on standard error, one an event."""

import logging

from pythonjsonlogger.json import JsonFormatter


def set_up(level: str) -> None:
    """Installs the one handler. Raises ValueError for a level that is none."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.engines.activities").setLevel(logging.WARNING)
