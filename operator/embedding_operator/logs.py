"""JSON lines on standard error, one an event."""

import logging

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

KOPF_ATTRIBUTES = ("settings", "k8s_skip", "k8s_ref")
"""Live objects that kopf hangs on its records for its own handlers."""


def set_up(level: str) -> None:
    """Installs the one handler. Raises ValueError for a level that is none."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            reserved_attrs=[*RESERVED_ATTRS, *KOPF_ATTRIBUTES],
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.engines.activities").setLevel(logging.WARNING)
