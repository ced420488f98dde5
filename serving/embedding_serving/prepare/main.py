"""`python -m embedding_serving prepare`: settings from the environment, one report at the end, exit code 0 or 1."""

import logging
import os
import sys
from pathlib import Path

from pydantic import ValidationError

from embedding_serving.contract.reports import Outcome, Report
from embedding_serving.contract.settings import TERMINATION_PATH, PrepareSettings, env_name
from embedding_serving.logs import setup_logging

from .errors import PrepareError

log = logging.getLogger(__name__)


def main() -> int:
    """Prepares the model that the environment asks for. 0 = prepared, 1 = the report says why not."""
    for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # else one per core of the node, whatever the pod may use
        os.environ.setdefault(threads, "2")
    setup_logging(os.environ.get(env_name("log_level"), "INFO"))
    try:
        settings = PrepareSettings()  # from the environment
    except ValidationError as error:
        return _finish(os.environ.get(env_name("termination_path"), TERMINATION_PATH), _unreadable_settings(error))
    return _finish(settings.termination_path, _run(settings))


def _run(settings: PrepareSettings) -> Report:
    from .pipeline import prepare  # late: the imports take half a second, which bad settings need not wait for

    try:
        manifest = prepare(settings)
    except PrepareError as error:
        return Report(outcome=error.outcome, message=error.message)
    except MemoryError:
        return Report(outcome=Outcome.UNAVAILABLE, message="out of memory while preparing: raise spec.resources.limits.memory")
    except Exception as error:
        log.exception("unexpected failure")
        message = (
            f"unexpected {type(error).__name__} while preparing: this is a bug in embedding-serving; its log has the trace"
        )
        return Report(outcome=Outcome.UNAVAILABLE, message=message)
    message = f"{manifest.architecture}, {manifest.dimensions} dimensions, for {', '.join(manifest.engines)}"
    return Report(outcome=Outcome.PREPARED, message=message, fingerprint=manifest.fingerprint, dimensions=manifest.dimensions)


def _unreadable_settings(error: ValidationError) -> Report:
    """Names the settings without their values, which may be secrets."""
    faults = "; ".join(f"{env_name('.'.join(map(str, entry['loc'])))}: {entry['msg']}" for entry in error.errors())
    message = (
        f"the settings of this pod can't be read ({faults}): operator and serving image are probably of different versions"
    )
    return Report(outcome=Outcome.UNAVAILABLE, message=message)


def _finish(termination_path: str, report: Report) -> int:
    succeeded = report.outcome is Outcome.PREPARED
    log.log(
        logging.INFO if succeeded else logging.ERROR,
        report.message,
        extra=report.model_dump(exclude={"message"}, exclude_none=True),
    )
    try:
        Path(termination_path).write_text(report.dump())
    except OSError as error:
        log.warning("the report could not be written", extra={"path": termination_path, "reason": error.strerror})
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
