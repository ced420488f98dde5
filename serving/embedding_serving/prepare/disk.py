"""Room on the weights volume."""

import errno
import shutil
from pathlib import Path

from .errors import UnavailableError


def require_space(directory: Path, needed: int, purpose: str) -> None:
    """Raises UnavailableError where the volume of `directory` has not `needed` bytes left."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise UnavailableError(
            f"the weights volume has {free >> 20} MiB left, but {(needed >> 20) + 1} MiB are needed {purpose}: "
            "raise spec.weights.size, or use a larger claim"
        )


def explain(error: OSError, directory: Path) -> UnavailableError:
    """A failed read or write on the volume, with what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(directory).free if directory.is_dir() else 0
        return UnavailableError(
            f"the weights volume is full ({free >> 20} MiB left): raise spec.weights.size, or use a larger claim"
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return UnavailableError(
            f"{error.filename or directory} can't be written or read: give the pod a writable weights volume (check fsGroup)"
        )
    return UnavailableError(f"the weights volume failed ({error.strerror or error}): check the claim behind spec.weights")
