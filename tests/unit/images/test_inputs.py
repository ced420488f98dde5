"""The hash that decides whether an image is built again."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.image import ImageError
from images.inputs import hash_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in {"a.py": "a", "package/b.py": "b"}.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return tmp_path


def _hash(tree: Path, *also: str) -> str:
    return hash_of([tree / "a.py", tree / "package"], relative_to=tree, also=also)


def test_the_same_files_elsewhere_have_the_same_hash(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    tree.rename(elsewhere)
    before = _hash(elsewhere)
    elsewhere.rename(tree)
    assert _hash(tree) == before


def test_content_names_and_added_files_count(tree: Path) -> None:
    seen = {_hash(tree), _hash(tree, "other base")}
    (tree / "package" / "b.py").write_text("changed")
    seen.add(_hash(tree))
    (tree / "package" / "b.py").rename(tree / "package" / "c.py")
    seen.add(_hash(tree))
    (tree / "package" / "d.py").write_text("")
    seen.add(_hash(tree))
    assert len(seen) == 5


def test_bytecode_and_modes_do_not_count(tree: Path) -> None:
    before = _hash(tree)
    (tree / "package" / "__pycache__").mkdir()
    (tree / "package" / "__pycache__" / "b.cpython-311.pyc").write_bytes(b"code")
    (tree / "a.py").chmod(0o600)
    assert _hash(tree) == before


def test_a_missing_input_is_named(tree: Path) -> None:
    (tree / "a.py").unlink()
    with pytest.raises(ImageError, match=r"a\.py is missing"):
        _hash(tree)
