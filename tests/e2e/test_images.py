"""The images as pods meet them, and a builder that survives being killed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import images as image_builder
from cluster import Cluster
from fixtures.installation import ROOT
from images import Image, ImageError
from images.building import build_recipe
from images.recipes import CACHE, SERVING, Recipe, minilm

SLIM_LIMIT_BYTES = 900_000_000
POD_SECONDS = 90
LARGE_MODEL_BYTES = 50_000_000


@pytest.fixture(scope="module")
def built(cluster: Cluster) -> dict[str, Image]:
    found = image_builder.build("operator", "serving", "model")
    for image in found.values():
        cluster.load_image(image.archive)
    return found


@pytest.fixture(scope="module")
def restricted(cluster: Cluster) -> Iterator[str]:
    """A namespace under Pod Security `restricted`, without an operator's interest in it."""
    name = f"images-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cluster.kubectl("create", "--filename=-", input=json.dumps(manifest))
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def _run(cluster: Cluster, namespace: str, image: str, *command: str) -> str:
    """What a restricted pod with a read-only root prints, whether it ends well or not."""
    name = f"run-{uuid.uuid4().hex[:8]}"
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "command": list(command),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "work", "mountPath": "/work"}],
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "work", "emptyDir": {}}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}
    cluster.kubectl("create", "--filename=-", input=json.dumps(pod))
    deadline = time.monotonic() + POD_SECONDS
    while (phase := _phase(cluster, namespace, name)) not in ("Succeeded", "Failed"):
        assert time.monotonic() < deadline, cluster.kubectl("describe", "pod", name, f"--namespace={namespace}")
        assert phase
        time.sleep(0.3)
    return cluster.kubectl("logs", name, f"--namespace={namespace}")


def _phase(cluster: Cluster, namespace: str, name: str) -> str:
    return cluster.kubectl("get", "pod", name, f"--namespace={namespace}", "--output=jsonpath={.status.phase}")


def _python(cluster: Cluster, namespace: str, image: Image, program: str) -> Any:
    """The JSON that a program prints inside the image."""
    return json.loads(_run(cluster, namespace, image.reference, "python", "-c", program))


def _blob(archive: Path, digest: str) -> bytes:
    with tarfile.open(archive) as tar:
        file = tar.extractfile(f"blobs/sha256/{digest.removeprefix('sha256:')}")
        assert file is not None
        return file.read()


def _manifest(image: Image) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_blob(image.archive, image.digest))
    return found


def _config(image: Image) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_blob(image.archive, _manifest(image)["config"]["digest"]))["config"]
    return found


def test_unchanged_inputs_build_nothing(built: dict[str, Image]) -> None:
    before = {name: image.archive.stat().st_mtime_ns for name, image in built.items()}
    assert image_builder.build("operator", "serving", "model") == built
    assert {name: image.archive.stat().st_mtime_ns for name, image in built.items()} == before


def test_images_carry_oci_labels_and_run_as_nobody_in_particular(built: dict[str, Image]) -> None:
    for image in built.values():
        config = _config(image)
        assert config["User"] == "65532:65532"
        assert config["Labels"]["org.opencontainers.image.title"]
        assert config["Labels"]["org.opencontainers.image.revision"] == image.input_hash
    assert _config(built["operator"])["Cmd"] == ["run"]
    assert _config(built["serving"])["Entrypoint"] == ["python", "-m", "embedding_serving"]


def test_no_library_reports_home(cluster: Cluster, restricted: str, built: dict[str, Image]) -> None:
    assert {"ORT_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_TELEMETRY=1"} <= set(_config(built["serving"])["Env"])
    program = """
import json, os, pathlib
os.environ["HOME"] = "/work"
import onnxruntime, openvino
print(json.dumps(sorted(str(path) for path in pathlib.Path("/work").rglob("*"))))
"""
    assert _python(cluster, restricted, built["serving"], program) == []


def test_the_slim_image_is_small_and_free_of_torch(cluster: Cluster, restricted: str, built: dict[str, Image]) -> None:
    assert built["serving"].bytes_ < SLIM_LIMIT_BYTES
    program = """
import importlib.util as util, json
names = ["torch", "transformers", "pip", "onnxruntime", "openvino", "onnx", "faiss", "fastapi", "tokenizers", "redis"]
print(json.dumps([name for name in names if util.find_spec(name)]))
"""
    found = _python(cluster, restricted, built["serving"], program)
    assert found == ["onnxruntime", "openvino", "onnx", "faiss", "fastapi", "tokenizers", "redis"]


def test_both_roles_start_on_a_read_only_root(cluster: Cluster, restricted: str, built: dict[str, Image]) -> None:
    program = """
import importlib, json, os, pathlib, sysconfig
import embedding_serving.embed.main, embedding_serving.prepare.main
import faiss, onnx, onnxruntime, openvino
where = [pathlib.Path(sysconfig.get_path("purelib"), "fastapi/applications.py"), pathlib.Path(embedding_serving.__file__)]
compiled = [pathlib.Path(importlib.util.cache_from_source(str(path))).exists() for path in where]
refused = []
for path in ("/opt/app/x", "/opt/venv/x", "/x"):
    try:
        open(path, "w")
    except OSError:
        refused.append(path)
print(json.dumps({"user": os.getuid(), "compiled": compiled, "refused": refused}))
"""
    found = _python(cluster, restricted, built["serving"], program)
    assert found == {"user": 65532, "compiled": [True, True], "refused": ["/opt/app/x", "/opt/venv/x", "/x"]}


def test_the_operator_image_knows_of_the_data_plane_its_contract_alone(
    cluster: Cluster, restricted: str, built: dict[str, Image]
) -> None:
    program = """
import importlib.util as util, json
import embedding_operator.run, embedding_serving.contract.settings
names = ["embedding_serving.embed", "embedding_serving.prepare", "numpy", "fastapi", "pip"]
print(json.dumps([name for name in names if util.find_spec(name)]))
"""
    assert _python(cluster, restricted, built["operator"], program) == []


def test_a_pod_finds_an_image_by_its_digest_and_copies_the_model(
    cluster: Cluster, restricted: str, built: dict[str, Image]
) -> None:
    copy = f"cp -r {image_builder.MODEL_PATH}/. /work && cd /work && sha256sum model.safetensors"
    said = _run(cluster, restricted, built["model"].pinned, "sh", "-c", copy)
    (directory,) = minilm().inputs
    assert said.split()[0] == hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


def test_any_folder_becomes_a_model_image(cluster: Cluster, restricted: str, tmp_path: Path) -> None:
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "config.json").write_text('{"a": 1}')
    (tmp_path / "nested" / "config.json").chmod(0o600)
    first = image_builder.model_image("any", tmp_path)
    cluster.load_image(first.archive)
    shown = _run(cluster, restricted, first.pinned, "cat", f"{image_builder.MODEL_PATH}/nested/config.json")
    assert shown == '{"a": 1}'
    (tmp_path / "nested" / "config.json").write_text('{"a": 2}')
    second = image_builder.model_image("any", tmp_path)
    assert (second.reference, second.digest) != (first.reference, first.digest)


def test_a_folder_that_cannot_be_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no files"):
        image_builder.model_image("wrong", tmp_path)
    (tmp_path / "model.safetensors").symlink_to("/etc/hostname")
    with pytest.raises(ImageError, match="link"):
        image_builder.model_image("wrong", tmp_path)


@pytest.fixture
def changed_serving(tmp_path: Path) -> Recipe:
    """The serving image of a source tree that differs in one file, and in a new way each time."""
    for path in (".dockerignore", "Dockerfile.serving", "requirements/serving.txt", "serving/embedding_serving"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, tmp_path / path)
        else:
            shutil.copy(ROOT / path, tmp_path / path)
    (tmp_path / "serving" / "embedding_serving" / "changed.py").write_text(f"WHEN = {time.time_ns()}\n")
    return dataclasses.replace(
        SERVING,
        name="serving-changed",
        repository="localhost/embedding-serving-changed",
        dockerfile=tmp_path / "Dockerfile.serving",
        context=tmp_path,
        inputs=tuple(tmp_path / path.relative_to(ROOT) for path in SERVING.inputs),
    )


def test_a_change_of_source_leaves_the_layers_below_alone_and_builds_the_same_twice(
    built: dict[str, Image], changed_serving: Recipe
) -> None:
    original = [layer["digest"] for layer in _manifest(built["serving"])["layers"]]
    image = build_recipe(changed_serving)
    changed = [layer["digest"] for layer in _manifest(image)["layers"]]
    different = sum(_layer_bytes(image, digest) for digest in changed if digest not in original)
    assert len(changed) == len(original)
    assert changed != original
    assert different < 5_000_000
    image.archive.unlink()
    assert build_recipe(changed_serving) == image


def _layer_bytes(image: Image, digest: str) -> int:
    return int(next(layer["size"] for layer in _manifest(image)["layers"] if layer["digest"] == digest))


def test_a_build_that_was_killed_does_not_harm_the_next(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(os.urandom(LARGE_MODEL_BYTES))
    log = CACHE / "logs" / "model-killed.log"
    log.unlink(missing_ok=True)
    program = f"import pathlib, images; images.model_image('killed', pathlib.Path({str(model)!r}))"
    build = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT / "tests")})
    deadline = time.monotonic() + POD_SECONDS
    while not (log.exists() and "COPY" in log.read_text()):
        assert build.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    build.send_signal(signal.SIGKILL)
    build.wait()
    image = image_builder.model_image("killed", model)
    for digest in (image.digest, *(layer["digest"] for layer in _manifest(image)["layers"])):
        assert f"sha256:{hashlib.sha256(_blob(image.archive, digest)).hexdigest()}" == digest
    assert not [path for path in CACHE.iterdir() if path.name.startswith(("export-", "."))]


@pytest.mark.torch_image
def test_the_torch_image_has_what_gpu_pods_need(cluster: Cluster, restricted: str) -> None:
    image = image_builder.build("torch")["torch"]
    cluster.load_image(image.archive)
    program = """
import json, torch, transformers
import embedding_serving.embed.main, embedding_serving.prepare.main
print(json.dumps({"cuda": torch.version.cuda is not None, "sum": float(torch.ones(3).sum())}))
"""
    assert _python(cluster, restricted, image, program) == {"cuda": True, "sum": 3.0}


def test_the_lock_and_the_dockerfiles_agree_on_python() -> None:
    lock = (ROOT / "requirements" / "lock").read_text()
    assert "--python-version 3.11" in lock
    for name in ("Dockerfile.operator", "Dockerfile.serving"):
        assert "ARG BASE_IMAGE=python:3.11-slim" in (ROOT / name).read_text()


def test_the_default_names_of_the_chart_are_those_of_the_builder(built: dict[str, Image]) -> None:
    values = yaml.safe_load((ROOT / "charts" / "embedding-operator" / "values.yaml").read_text())["images"]
    for name in ("operator", "serving"):
        assert built[name].reference.rpartition(":")[0] == values[name].rpartition(":")[0]
        assert built[name].reference.rpartition(":")[2] == built[name].input_hash[:12]
