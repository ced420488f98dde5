from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from cluster import ClusterError
from cluster.images import archive_program, archived_image


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "server"
    file.write_bytes(b"\x7fELF and so on")
    return file


def test_an_archive_tells_the_name_and_digest_it_was_made_with(program: Path, tmp_path: Path) -> None:
    made = archive_program(program, "localhost/x/server:1", tmp_path / "server.tar")
    assert archived_image(tmp_path / "server.tar") == made
    assert made.reference == "localhost/x/server:1"


def test_the_same_program_gives_the_same_digest(program: Path, tmp_path: Path) -> None:
    first = archive_program(program, "localhost/x/server:1", tmp_path / "first.tar")
    second = archive_program(program, "localhost/x/server:1", tmp_path / "second.tar")
    assert first.digest == second.digest
    program.write_bytes(b"\x7fELF and something else")
    assert archive_program(program, "localhost/x/server:1", tmp_path / "third.tar").digest != first.digest


def test_what_is_no_archive_is_refused_in_words(program: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="is not an OCI archive"):
        archived_image(program)
    with pytest.raises(ClusterError, match="is not an OCI archive"):
        archived_image(tmp_path / "absent.tar")
    empty = tmp_path / "empty.tar"
    with tarfile.open(empty, "w"):
        pass
    with pytest.raises(ClusterError, match="is not an OCI archive"):
        archived_image(empty)
