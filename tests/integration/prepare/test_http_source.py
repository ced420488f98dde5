"""Source `http`: a tar behind a URL, by strangers for strangers."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedding_serving.contract.model import DirectorySource, HTTPSource
from embedding_serving.contract.reports import Outcome
from embedding_serving.contract.settings import PrepareSettings
from fixtures.hub import Hub
from fixtures.models import minilm_directory, pickle_only_model, tiny_model

from .run import fail, start, succeed, wait_until


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        yield server


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    directory = tmp_path / "weights"
    directory.mkdir()
    return directory


@pytest.fixture
def share(tmp_path: Path) -> Path:
    directory = tmp_path / "share"
    directory.mkdir()
    return directory


def _serve(hub: Hub, archive: Path) -> str:
    revision = hub.add("files/models", archive.parent)
    return f"{hub.url}/files/models/resolve/{revision}/{archive.name}"


def _settings(
    weights: Path, url: str, archive: Path, allowed: tuple[str, ...] = ("127.0.0.1",), sha256: str | None = None
) -> PrepareSettings:
    digest = sha256 or hashlib.sha256(archive.read_bytes()).hexdigest()
    return PrepareSettings(
        revision="00000000",
        weights_dir=str(weights),
        source=HTTPSource(url=url, sha256=digest),
        http_allowed_hosts=allowed,
    )


def _pack(directory: Path, archive: Path, prefix: str = "") -> Path:
    mode = {".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(archive.suffix, "w")
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
        tar.add(directory, prefix or ".")
    return archive


@pytest.mark.parametrize(("name", "prefix"), [("m.tar", ""), ("m.tar.gz", "tiny"), ("m.tar.bz2", ""), ("m.tar.xz", "a")])
def test_a_tar_has_the_fingerprint_of_its_files(
    hub: Hub, weights: Path, share: Path, tiny: Path, tmp_path: Path, name: str, prefix: str
) -> None:
    archive = _pack(tiny, share / name, prefix)
    fetched = succeed(_settings(weights, _serve(hub, archive), archive))
    (tmp_path / "other").mkdir()
    source = DirectorySource(path=str(tiny))
    mounted = succeed(PrepareSettings(revision="00000000", weights_dir=str(tmp_path / "other"), source=source))
    assert fetched.report.fingerprint == mounted.report.fingerprint
    assert [path.name for path in weights.glob(".prepare/*/*")] == ["lock"]


def test_a_wrong_hash_is_refused_before_anything_is_unpacked(hub: Hub, weights: Path, share: Path, tiny: Path) -> None:
    archive = _pack(tiny, share / "m.tar")
    ended = fail(_settings(weights, _serve(hub, archive), archive, sha256="0" * 64), Outcome.HASH_MISMATCH)
    assert "0000000000000000" in ended.report.message
    assert not list(weights.glob(".prepare/*/download/files*"))


def test_a_killed_download_of_a_tar_goes_on_where_it_was(hub: Hub, weights: Path, share: Path) -> None:
    archive = _pack(minilm_directory(), share / "m.tar")
    settings = _settings(weights, _serve(hub, archive), archive)
    hub.faults.bytes_per_second = 30_000_000
    first = start(settings)
    parts = ".prepare/*/download/archive.part"
    wait_until(lambda: any(path.stat().st_size > 0 for path in weights.glob(parts)), "a part of the archive")
    first.kill()
    held = next(weights.glob(parts)).stat().st_size
    hub.faults.bytes_per_second = None
    hub.requests.clear()
    succeed(settings)
    assert [request.byte_range for request in hub.requests if request.origin == "content"] == [f"bytes={held}-"]


def _member(name: str, **fields: object) -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        for field, value in fields.items():
            setattr(info, field, value)
        tar.addfile(info, io.BytesIO(b"x" * info.size))

    return add


@pytest.mark.parametrize(
    ("add", "words"),
    [
        (_member("../escaped", size=1), "outside of itself"),
        (_member("/escaped", size=1), "outside of itself"),
        (_member("a/../../escaped", size=1), "outside of itself"),
        (_member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "no plain file"),
        (_member("hard", type=tarfile.LNKTYPE, linkname="config.json"), "no plain file"),
        (_member("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3), "no plain file"),
        (_member("pipe", type=tarfile.FIFOTYPE), "no plain file"),
        (_member("./config.json", size=1), "twice"),
    ],
    ids=["parent", "absolute", "hidden parent", "symlink", "hard link", "device", "pipe", "twice"],
)
def test_a_tar_with_anything_but_files_inside_of_it_is_refused_whole(
    hub: Hub, weights: Path, share: Path, tiny: Path, tmp_path: Path, add: Callable[[tarfile.TarFile], None], words: str
) -> None:
    archive = _pack(tiny, share / "m.tar")
    with tarfile.open(archive, "a") as tar:
        add(tar)
    ended = fail(_settings(weights, _serve(hub, archive), archive), Outcome.UNSUPPORTED_MODEL)
    assert words in ended.report.message
    assert not list(tmp_path.rglob("escaped"))
    assert not list(weights.glob(".prepare/*/download/files*"))


@pytest.mark.parametrize("damage", ["cut", "text"])
def test_what_is_no_tar_says_so(hub: Hub, weights: Path, share: Path, tiny: Path, damage: str) -> None:
    archive = _pack(tiny, share / "m.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-2000] if damage == "cut" else b"<html>not found</html>")
    ended = fail(_settings(weights, _serve(hub, archive), archive), Outcome.UNSUPPORTED_MODEL)
    assert "no readable tar" in ended.report.message


def test_a_tar_with_pickles_alone_is_unsafe(hub: Hub, weights: Path, share: Path, tmp_path: Path) -> None:
    archive = _pack(pickle_only_model(tmp_path / "pickle"), share / "m.tar")
    ended = fail(_settings(weights, _serve(hub, archive), archive), Outcome.UNSAFE_WEIGHTS)
    assert "pytorch_model.bin" in ended.report.message


def test_a_url_that_answers_404_is_named_without_its_query(hub: Hub, weights: Path, share: Path, tiny: Path) -> None:
    archive = _pack(tiny, share / "m.tar")
    url = f"{_serve(hub, archive)}x?signature=secret"
    ended = fail(_settings(weights, url, archive), Outcome.SOURCE_NOT_FOUND)
    assert "HTTP 404" in ended.report.message
    assert "signature" not in ended.log + ended.report.message


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_addresses_of_the_pod_itself_are_refused_before_a_byte_is_sent(
    hub: Hub, weights: Path, share: Path, tiny: Path, host: str
) -> None:
    archive = _pack(tiny, share / "m.tar")
    url = _serve(hub, archive).replace("127.0.0.1", host)
    ended = fail(_settings(weights, url, archive, allowed=()), Outcome.SOURCE_NOT_FOUND)
    assert "refused" in ended.report.message
    assert hub.requests == []


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "224.0.0.1", "[::]"])
def test_link_local_and_metadata_addresses_are_refused(weights: Path, share: Path, tiny: Path, host: str) -> None:
    archive = _pack(tiny, share / "m.tar")
    ended = fail(_settings(weights, f"http://{host}/m.tar", archive, allowed=()), Outcome.SOURCE_NOT_FOUND)
    assert "refused" in ended.report.message


def test_a_redirect_to_a_host_that_is_not_allowed_is_refused(hub: Hub, weights: Path, share: Path) -> None:
    archive = _pack(minilm_directory(), share / "m.tar")
    url = _serve(hub, archive).replace("127.0.0.1", "localhost")
    hub.redirect_host = "127.0.0.1"
    ended = fail(_settings(weights, url, archive, allowed=("localhost",)), Outcome.SOURCE_NOT_FOUND)
    assert "host 127.0.0.1 is not in the chart's list" in ended.report.message
    assert [request for request in hub.requests if request.origin == "content"] == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///etc/passwd", "no http or https URL"),
        ("ftp://example.com/m.tar", "no http or https URL"),
        ("http://user:hunter2@example.com/m.tar", "user name or password"),
        ("http://", "no http or https URL"),
        ("http://host:port/m.tar", "no valid URL"),
        ("http://elsewhere.example/m.tar", "not in the chart's list"),
    ],
)
def test_a_url_that_is_no_address_of_an_archive_is_refused(
    weights: Path, share: Path, tiny: Path, url: str, words: str
) -> None:
    archive = _pack(tiny, share / "m.tar")
    ended = fail(_settings(weights, url, archive), Outcome.SOURCE_NOT_FOUND)
    assert words in ended.report.message
    assert "hunter2" not in ended.log + ended.report.message


def test_a_server_that_is_not_there_is_unavailable_and_may_come_back(weights: Path, share: Path, tiny: Path) -> None:
    archive = _pack(tiny, share / "m.tar")
    ended = fail(_settings(weights, "http://127.0.0.1:9/m.tar", archive), Outcome.UNAVAILABLE)
    assert "could not be fetched from 127.0.0.1" in ended.report.message
