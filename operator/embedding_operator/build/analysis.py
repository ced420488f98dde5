"""The Job that compares a generation that is to serve with the one that does, and the policy of its pod."""

from collections.abc import Sequence

from embedding_serving.contract.route import GenerationRoute
from embedding_serving.contract.settings import API_PORT, FRAME_PORT, GOLDEN_DIR, GOLDEN_FILE, AnalyseSettings, Check

from ..api.rebuild import GoldenQueriesReference
from ..api.shared import Resources
from ..api.vectorindex import VectorIndex
from ..resources import GROUP, VECTOR_INDEX, Manifest
from . import names, objects, pod
from .installation import Installation
from .vector_index import FROM_THE_POD

CONTAINER = "analyse"
GOLDEN_VOLUME = "golden"
GOLDEN_DIGEST = f"{GROUP}/golden-queries"
"""Annotation of the pod: hash of the golden queries that it was made for."""
RETRIES = 5
"""Of a pod that could not measure; the Job waits longer before each, about five minutes in all."""
ACTIVE_SECONDS = 10_800
"""For all tries together, one that waits for a node included."""
GRACE_SECONDS = 5


def job(
    index: VectorIndex,
    blue: GenerationRoute,
    green: GenerationRoute,
    checks: Sequence[Check],
    golden_digest: str | None,
    at: Installation,
) -> Manifest:
    """Named by what it measures: another bound judges the same numbers, another sample is another Job.

    golden_digest: of the golden queries, where they are asked for.
    """
    name = index.metadata.name
    spec: Manifest = {
        "backoffLimit": RETRIES,
        "activeDeadlineSeconds": ACTIVE_SECONDS,
        "template": _template(index, blue, green, checks, golden_digest, at),
    }
    labels = names.analysis_labels(name) | {names.GENERATION: str(green.generation)}
    child = names.analysis_job(name, green.generation, names.digest(spec)[:5])
    return {"metadata": names.owned(VECTOR_INDEX, index.metadata, child, labels), "spec": spec}


def network_policy(index: VectorIndex) -> Manifest:
    """Nobody calls it; it calls the shards of this index, and the models."""
    name = index.metadata.name
    shards = {"podSelector": {"matchLabels": names.index_selector(name)}}
    egress = [objects.DNS_EGRESS, {"to": [shards], "ports": [objects.tcp(FRAME_PORT)]}]
    if index.spec.model_ref:
        models = {"podSelector": {"matchLabels": {names.COMPONENT: "embed"}}}
        egress.append({"to": [models], "ports": [objects.tcp(API_PORT)]})
    metadata = names.owned(VECTOR_INDEX, index.metadata, names.analysis(name), names.analysis_labels(name))
    return objects.network_policy(metadata, names.analysis_selector(name), [], egress)


def _template(
    index: VectorIndex,
    blue: GenerationRoute,
    green: GenerationRoute,
    checks: Sequence[Check],
    golden_digest: str | None,
    at: Installation,
) -> Manifest:
    name = index.metadata.name
    wanted = index.spec.rebuild.pre_promotion_analysis
    mounts, volumes = [pod.TMP_MOUNT], [pod.TMP_VOLUME]
    if wanted.golden_queries:
        mounts.append({"name": GOLDEN_VOLUME, "mountPath": GOLDEN_DIR, "readOnly": True})
        volumes.append(_golden_volume(wanted.golden_queries.config_map_ref))
    container = pod.container(CONTAINER, at.serving_image, at, mounts)
    container["args"] = [CONTAINER]
    container["env"] = pod.settings_env(
        pod.settings(
            AnalyseSettings,
            pod=names.analysis(name),
            namespace=index.metadata.namespace,
            index=name,
            blue=_lasting(blue),
            green=_lasting(green),
            checks=tuple(checks),
            sample_size=wanted.sample_size,
            seed=green.generation,
        ),
        FROM_THE_POD,
    )
    container["resources"] = pod.resources(Resources(), with_devices=False)
    template = pod.template(
        index.spec.pod,
        labels=names.analysis_labels(name),
        selector=names.analysis_selector(name),
        service_account=names.shards(name),
        grace_seconds=GRACE_SECONDS,
        parts={"restartPolicy": "Never", "containers": [container], "volumes": volumes},
    )
    if golden_digest:
        metadata = template["metadata"]
        metadata["annotations"] = metadata.get("annotations", {}) | {GOLDEN_DIGEST: golden_digest}
    return template


def _lasting(generation: GenerationRoute) -> GenerationRoute:
    """What a generation is, without what the route records of it meanwhile."""
    return generation.model_copy(update={"histories": (), "token": "", "storage_class": None})


def _golden_volume(reference: GoldenQueriesReference) -> Manifest:
    items = [{"key": reference.key, "path": GOLDEN_FILE}]
    return {"name": GOLDEN_VOLUME, "configMap": {"name": reference.name, "items": items, "optional": False}}
