"""`python -m demo`: a cluster, the images, the operator from its chart, a real model, and what it knows of three sentences."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import click
import yaml
from rich.console import Console

from cluster import Cluster, ClusterError, connect
from cluster.binaries import program
from cluster.connect import BACKENDS
from demo import blockers, following, sentences
from demo.installation import OPERATOR_PODS, RELEASE, install, namespace, others_acting_in, sole_use, uninstall
from images import Image, ImageError, build

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "demo" / "minilm.yaml"
OPERATOR_NAMESPACE = "embedding-operator"
API_PORT = 8080

_OPERATOR_SECONDS = 120.0
_MODEL_SECONDS = 300.0


@click.command(help=__doc__)
@click.option("--backend", type=click.Choice(BACKENDS), default="auto", show_default=True, envvar="CLUSTER_BACKEND")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Of an existing cluster; needs --context.")
@click.option("--context", "kube_context", help="The one context of --kubeconfig that may be used.")
def main(backend: str, kubeconfig: Path | None, kube_context: str | None) -> None:
    started = time.monotonic()
    console = Console(highlight=False)
    try:
        cluster = connect(backend, kubeconfig=kubeconfig, context=kube_context)
        with sole_use(cluster):
            model = _bring_up(cluster, console, ours=kube_context is None)
            answer = sentences.ask(cluster, model.namespace, f"{model.name}-embed", API_PORT, model.name)
    except (ClusterError, ImageError, _BlockedError, sentences.AnswerError) as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("demo: interrupted; run it again, it goes on where it was")
    _show(console, model, answer)
    command = _kubectl(cluster, kube_context, "-n", model.namespace, "describe", "em", model.name)
    print(f"demo: ready in {time.monotonic() - started:.0f} s; try next: {command}")


class _BlockedError(Exception):
    """Something on the cluster does not get ready; what stands in the way has been printed."""


class _Model:
    """The model of the example, with the image that was built here."""

    def __init__(self, image: Image) -> None:
        self.manifest = yaml.safe_load(EXAMPLE.read_text())
        self.manifest["spec"]["model"]["source"]["image"]["reference"] = image.pinned
        self.name: str = self.manifest["metadata"]["name"]
        self.namespace: str = self.manifest["metadata"]["namespace"]


def _bring_up(cluster: Cluster, console: Console, *, ours: bool) -> _Model:
    _headline(console, 1, "a cluster")
    cluster.up()
    _headline(console, 2, "images")
    images = build("operator", "serving", "model")
    for image in images.values():
        cluster.load_image(image.archive)
    model = _Model(images["model"])
    _headline(console, 3, f"the operator, from charts/embedding-operator, for namespace {model.namespace}")
    _only_one_operator(cluster, model.namespace, ours=ours)
    for name in (OPERATOR_NAMESPACE, model.namespace):
        namespace(cluster, name)
    install(
        cluster,
        images,
        operator_namespace=OPERATOR_NAMESPACE,
        watch_namespaces=[model.namespace],
        values={"replicas": 1},
    )
    _follow_operator(cluster)
    _headline(console, 4, f"examples/demo: EmbeddingModel {model.name}")
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", input=yaml.safe_dump(model.manifest))
    _follow_model(cluster, model)
    return model


def _only_one_operator(cluster: Cluster, watched: str, *, ours: bool) -> None:
    for other in others_acting_in(cluster, watched, operator_namespace=OPERATOR_NAMESPACE):
        command = f"helm uninstall {other.release} --namespace {other.operator_namespace}"
        if not ours:
            raise _BlockedError(f"release {other.release} already acts in namespace {watched}; two can't: {command}")
        print(f"  left by earlier tests: {command}", file=sys.stderr)
        uninstall(cluster, operator_namespace=other.operator_namespace, release=other.release)


def _follow_operator(cluster: Cluster) -> None:
    try:
        following.follow(lambda: following.deployment(cluster, OPERATOR_NAMESPACE, RELEASE), deadline_seconds=_OPERATOR_SECONDS)
    except following.NotReadyError as error:
        told = blockers.describe(cluster, OPERATOR_NAMESPACE, OPERATOR_PODS, f"deployment/{RELEASE}")
        print(told, file=sys.stderr)
        raise _BlockedError(f"the operator does not run: {error}") from error


def _follow_model(cluster: Cluster, model: _Model) -> None:
    try:
        following.follow(lambda: following.model(cluster, model.namespace, model.name), deadline_seconds=_MODEL_SECONDS)
    except following.NotReadyError as error:
        selector = f"embedding-operator.io/embeddingmodel={model.name}"
        print(blockers.describe(cluster, model.namespace, selector, f"embeddingmodel/{model.name}"), file=sys.stderr)
        raise _BlockedError(f"the model does not serve: {error}") from error


def _headline(console: Console, number: int, text: str) -> None:
    console.print(f"[bold]{number}/5[/] {text}")


def _show(console: Console, model: _Model, answer: sentences.Answer) -> None:
    _headline(console, 5, f"three sentences through service {model.name}-embed, {answer.dimensions} dimensions each")
    console.print(sentences.table(answer))
    one, other = answer.nearest
    console.print(f"Nearest: {one + 1} and {other + 1}, similarity {answer.similarity[one][other]:.2f}.")


def _kubectl(cluster: Cluster, kube_context: str | None, *words: str) -> str:
    """A command line for this cluster that can be pasted into a shell."""
    kubectl = "kubectl" if shutil.which("kubectl") else os.fspath(program("kubectl"))
    context = ["--context", kube_context] if kube_context else []
    return shlex.join([kubectl, "--kubeconfig", os.fspath(cluster.kubeconfig), *context, *words])


main()
