"""`python -m demo`: a cluster, images, the operator from its chart, a real model and texts, questions, and another model."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click
import yaml
from rich.console import Console

from cluster import Cluster, ClusterError, connect
from cluster.binaries import program
from cluster.connect import BACKENDS
from corpus import Document, NoTexts, documents
from demo import blockers, following, questions, rebuild, without_cluster
from demo.endpoint import AnswerError, Endpoint
from demo.installation import OF_THE_DEMO, OPERATOR_PODS, RELEASE, install, namespace, others_acting_in, sole_use, uninstall
from demo.traffic import Traffic
from images import Image, ImageError, build

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "demo"
OPERATOR_NAMESPACE = "embedding-operator"
API_PORT = 8080

_OPERATOR_SECONDS = 120.0
_MODEL_SECONDS = 300.0
_INDEX_SECONDS = 180.0
_DOCUMENTS = 20_000
_REBUILT_DOCUMENTS = 3_000


@click.command(help=__doc__)
@click.option("--backend", type=click.Choice(BACKENDS), default="auto", show_default=True, envvar="CLUSTER_BACKEND")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Of an existing cluster; needs --context.")
@click.option("--context", "kube_context", help="The one context of --kubeconfig that may be used.")
@click.option("--documents", "wanted", type=click.IntRange(1), default=_DOCUMENTS, show_default=True, help="Texts to load.")
@click.option("--without-cluster", is_flag=True, help="The search alone, in one process of this machine.")
def main(backend: str, kubeconfig: Path | None, kube_context: str | None, wanted: int, without_cluster: bool) -> None:
    started = time.monotonic()
    console = Console(highlight=False)
    try:
        cluster = None if without_cluster else _cluster(backend, kubeconfig, kube_context, console)
        if cluster is None:
            command = _locally(wanted, console)
        else:
            command = _on_cluster(cluster, kube_context, wanted, console)
    except (ClusterError, ImageError, _BlockedError, AnswerError, NoTexts) as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("demo: interrupted; run it again, it goes on where it was")
    print(f"demo: ready in {time.monotonic() - started:.0f} s; try next: {command}")


def _cluster(backend: str, kubeconfig: Path | None, kube_context: str | None, console: Console) -> Cluster | None:
    """A cluster that is up; None where this machine can have none and nobody named one."""
    try:
        cluster = connect(backend, kubeconfig=kubeconfig, context=kube_context)
    except ClusterError as error:
        if kubeconfig or kube_context or backend != "auto":
            raise
        console.print(f"No cluster can be had here ({error}): the search runs without Kubernetes.")
        return None
    _headline(console, 1, "a cluster")
    cluster.up()
    return cluster


def _on_cluster(cluster: Cluster, kube_context: str | None, wanted: int, console: Console) -> str:
    with sole_use(cluster):
        model = _bring_up(cluster, console, ours=kube_context is None)
        namespace = model.namespace
        with cluster.port_forward("service/docs-search", API_PORT, namespace=namespace) as port:
            _load_and_ask(Endpoint(port), wanted, console)
        _change_models(cluster, model, min(wanted, _REBUILT_DOCUMENTS), console)
    print(cluster.kubectl("get", "embedding", f"--namespace={namespace}").rstrip())
    return _kubectl(cluster, kube_context, "-n", namespace, "describe", "vi", "docs")


def _locally(wanted: int, console: Console) -> str:
    with without_cluster.running() as port:
        _load_and_ask(Endpoint(port), wanted, console)
    _headline(console, 8, "another model while the index answers: this part needs a cluster, and is left out")
    return without_cluster.shown_command()


def _load_and_ask(endpoint: Endpoint, wanted: int, console: Console) -> None:
    _headline(console, 6, f"{wanted} texts of this machine: package descriptions, docstrings, man pages")
    _load(endpoint, list(documents(limit=wanted)), console)
    _headline(console, 7, "questions")
    console.print(questions.table(questions.ask(endpoint)))


def _load(endpoint: Endpoint, texts: list[Document], console: Console) -> None:
    if endpoint.count() >= len(texts):
        console.print("  loaded by an earlier run")
        return
    refused = endpoint.load(texts, len(texts), console)
    if refused:
        raise AnswerError(f"{refused} of {len(texts)} documents were refused")


def _change_models(cluster: Cluster, model: _Model, wanted: int, console: Console) -> None:
    _headline(console, 8, f"examples/demo/rebuild.yaml: an index of {wanted} texts changes its model while it answers")
    for manifest in yaml.safe_load_all((EXAMPLES / "rebuild.yaml").read_text()):
        if manifest["kind"] == "EmbeddingModel":
            manifest["spec"]["model"]["source"]["image"]["reference"] = model.image.pinned
        _apply(cluster, manifest)
    for kind in ("vectorindex", "searchservice"):
        _follow(cluster, model.namespace, kind, rebuild.INDEX, _INDEX_SECONDS)
    texts: list[Document] = list(documents(limit=wanted))
    with cluster.port_forward(f"service/{rebuild.INDEX}-search", API_PORT, namespace=model.namespace) as port:
        endpoint = Endpoint(port)
        _load(endpoint, texts, console)
        _follow(cluster, model.namespace, "embeddingmodel", rebuild.MODELS[1], _MODEL_SECONDS)
        with Traffic(endpoint, texts[0]) as traffic:
            change = rebuild.Change(cluster, model.namespace, traffic, console)
            try:
                change.rebuild()
                change.roll_back()
            except following.NotReadyError as error:
                raise _BlockedError(str(error)) from error
    if traffic.failures:
        raise AnswerError(f"{len(traffic.failures)} requests failed meanwhile, the first one: {traffic.failures[0]}")


def _apply(cluster: Cluster, manifest: dict[str, Any]) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", input=yaml.safe_dump(manifest))


class _BlockedError(Exception):
    """Something on the cluster does not get ready; what stands in the way has been printed."""


class _Model:
    """The model of the example, with the image that was built here."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.manifest = yaml.safe_load((EXAMPLES / "minilm.yaml").read_text())
        self.manifest["spec"]["model"]["source"]["image"]["reference"] = image.pinned
        self.name: str = self.manifest["metadata"]["name"]
        self.namespace: str = self.manifest["metadata"]["namespace"]


def _bring_up(cluster: Cluster, console: Console, *, ours: bool) -> _Model:
    _headline(console, 2, "images")
    images = build("operator", "serving", "model")
    for image in images.values():
        cluster.load_image(image.archive)
    model = _Model(images["model"])
    _headline(console, 3, f"the operator, from charts/embedding-operator, for namespace {model.namespace}")
    _only_one_operator(cluster, model.namespace, ours=ours)
    namespace(cluster, OPERATOR_NAMESPACE)
    namespace(cluster, model.namespace, OF_THE_DEMO)
    install(
        cluster,
        images,
        operator_namespace=OPERATOR_NAMESPACE,
        watch_namespaces=[model.namespace],
        values={"replicas": 1},
    )
    _follow_operator(cluster)
    _headline(console, 4, f"examples/demo: EmbeddingModel {model.name}")
    _apply(cluster, model.manifest)
    _follow(cluster, model.namespace, "embeddingmodel", model.name, _MODEL_SECONDS)
    _headline(console, 5, "examples/demo: VectorIndex docs and SearchService docs")
    cluster.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={EXAMPLES / 'search.yaml'}")
    _follow(cluster, model.namespace, "vectorindex", "docs", _INDEX_SECONDS)
    _follow(cluster, model.namespace, "searchservice", "docs", _INDEX_SECONDS)
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


def _follow(cluster: Cluster, namespace: str, kind: str, name: str, seconds: float) -> None:
    try:
        following.follow(lambda: following.resource(cluster, namespace, kind, name), deadline_seconds=seconds)
    except following.NotReadyError as error:
        selector = f"embedding-operator.io/{kind}={name}"
        print(blockers.describe(cluster, namespace, selector, f"{kind}/{name}"), file=sys.stderr)
        raise _BlockedError(f"{kind} {name} does not serve: {error}") from error


def _headline(console: Console, number: int, text: str) -> None:
    console.print(f"[bold]{number}/8[/] {text}")


def _kubectl(cluster: Cluster, kube_context: str | None, *words: str) -> str:
    """A command line for this cluster that can be pasted into a shell."""
    kubectl = "kubectl" if shutil.which("kubectl") else os.fspath(program("kubectl"))
    context = ["--context", kube_context] if kube_context else []
    return shlex.join([kubectl, "--kubeconfig", os.fspath(cluster.kubeconfig), *context, *words])


main()
