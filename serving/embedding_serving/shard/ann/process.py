"""The build process, seen from the process that asked for it."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from .build import Job, Result
from .errors import BuildFailedError

MODULE = "embedding_serving.shard.ann.build"
_PACKAGES = str(Path(__file__).resolve().parents[3])
_TOLD_BYTES = 500


class BuildProcess:
    """One build at work. Spawned, never forked: FAISS hangs after a fork. Its output goes to memory, so it can't block."""

    def __init__(self, job: Job) -> None:
        """Raises OSError where no process can be started."""
        self.job = job
        self._out = _memory_file("build-out")
        self._err = _memory_file("build-err")
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=self._out,
            stderr=self._err,
            env=_environment(job.threads),
        )
        # stdin stays open: its end tells the build that this process is gone. One that died at once, `poll` tells of.
        with contextlib.suppress(BrokenPipeError):
            self._input.write(job.model_dump_json().encode() + b"\n")
            self._input.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> Result | None:
        """None while it runs. Raises BuildFailedError; either way everything of the process is released then."""
        status = self._process.poll()
        if status is None:
            return None
        out, err = _contents(self._out), _contents(self._err)
        self._release()
        if status == 0:
            try:
                return Result.model_validate_json(out)
            except ValidationError:
                raise BuildFailedError("the build ended without an answer") from None
        how = f"by signal {-status}" if status < 0 else f"with {status}"
        said = err[-_TOLD_BYTES:].decode(errors="replace").strip()
        raise BuildFailedError(f"the build ended {how}: {said or 'it said nothing'}")

    def stop(self) -> None:
        """Ends it now."""
        self._process.kill()
        self._process.wait()
        self._release()

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe above
        return self._process.stdin

    def _release(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        for file in (self._out, self._err):
            os.close(file)


def _environment(threads: int) -> dict[str, str]:
    """Threads are set before FAISS and BLAS are loaded; the packages are found wherever this process found them."""
    paths = [_PACKAGES, os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }


def _memory_file(name: str) -> int:
    return os.memfd_create(name, os.MFD_CLOEXEC)


def _contents(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)
