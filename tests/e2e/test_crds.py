"""The CRDs before a real API server: what it refuses and how it says so, what it accepts, what people see.

An operator may be at work on the same cluster, so most requests are dry runs, and what is stored is paused: the
operator then writes its status, but makes nothing.
"""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import Cluster, ClusterError
from e2e.refused import ALLOWED_UPDATES, GONE, REFUSED, UPDATES, Refused, Update, manifest
from embedding_operator.api import EMBEDDING_MODELS, KINDS, SEARCH_SERVICES, VECTOR_INDEXES, Kind
from unit.api.samples import full_status, minimal, one_per_field

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


@pytest.fixture(scope="module")
def room(cluster: Cluster, crds: None) -> Iterator[str]:
    """A namespace for all tests of this file, which keep apart by names."""
    name = f"crds-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def create(cluster: Cluster, *objects: dict[str, Any], dry_run: bool = True) -> list[dict[str, Any]]:
    """What the API server makes of `objects`. ClusterError with its answer where it refuses one."""
    # kubectl checks the members of a List itself; one object it leaves to the server.
    whole = json.dumps(objects[0] if len(objects) == 1 else {"apiVersion": "v1", "kind": "List", "items": objects})
    how = ["--dry-run=server"] if dry_run else []
    return decoded(cluster.kubectl("create", *how, "--output=json", "--filename=-", input=whole))


def paused(given: dict[str, Any]) -> dict[str, Any]:
    return given | {"metadata": given["metadata"] | {"annotations": {"embedding-operator.io/paused": "true"}}}


def store(cluster: Cluster, room: str, kind: Kind, name: str) -> dict[str, Any]:
    """A minimal object of `kind`, as the server keeps it."""
    made = minimal(kind, name)
    made["metadata"]["namespace"] = room
    (stored,) = create(cluster, paused(made), dry_run=False)
    return stored


def patch_status(cluster: Cluster, room: str, kind: Kind, name: str, status: dict[str, Any], *how: str) -> str:
    patch = ("patch", kind.plural, name, f"--namespace={room}", "--subresource=status", "--type=merge", *how)
    return cluster.kubectl(*patch, "--patch", json.dumps({"status": status}))


def decoded(text: str) -> list[dict[str, Any]]:
    """JSON documents that follow each other, as kubectl prints several objects."""
    decoder, objects = json.JSONDecoder(), []
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        objects.append(document)
        text = text[end:]
    return objects


def apply(cluster: Cluster, changed: dict[str, Any]) -> str:
    return cluster.kubectl("apply", "--dry-run=server", "--filename=-", input=json.dumps(changed))


def refused_id(case: Refused | Update) -> str:
    return f"{case.kind}-{case.field}-{case.remedy[:24]}".replace(" ", "_")


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len(REFUSED) + len(UPDATES) >= 60
    assert len({repr(case) for case in REFUSED}) == len(REFUSED)


@pytest.mark.parametrize("case", REFUSED, ids=refused_id)
def test_a_wrong_manifest_is_refused_with_field_and_remedy(cluster: Cluster, room: str, case: Refused) -> None:
    with pytest.raises(ClusterError) as answer:
        create(cluster, manifest(case.kind, case.changes, "wrong", room))
    explains(str(answer.value), case.field, case.remedy)


@pytest.fixture(scope="module")
def stored(cluster: Cluster, room: str) -> dict[str, dict[str, Any]]:
    """The objects that updates start from, by the row of the table."""
    rows = [(case.kind, case.before) for case in UPDATES] + [(kind, before) for kind, before, _ in ALLOWED_UPDATES]
    objects = [paused(manifest(kind, before, f"before-{row}", room)) for row, (kind, before) in enumerate(rows)]
    cluster.kubectl("apply", "--filename=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    return {made["metadata"]["name"]: made for made in objects}


def updated(stored: dict[str, dict[str, Any]], row: int, kind: str, before: dict[str, Any], after: dict[str, Any]) -> Any:
    was = stored[f"before-{row}"]["metadata"]
    return manifest(kind, before | after, was["name"], was["namespace"])


@pytest.mark.parametrize(("row", "case"), list(enumerate(UPDATES)), ids=[refused_id(case) for case in UPDATES])
def test_what_may_not_change_says_what_to_do_instead(
    cluster: Cluster, stored: dict[str, dict[str, Any]], row: int, case: Update
) -> None:
    with pytest.raises(ClusterError) as answer:
        apply(cluster, updated(stored, row, case.kind, case.before, case.after))
    explains(str(answer.value), case.field, case.remedy)


@pytest.mark.parametrize(
    ("row", "kind", "before", "after"), [(row, *update) for row, update in enumerate(ALLOWED_UPDATES, start=len(UPDATES))]
)
def test_what_may_change_is_accepted(
    cluster: Cluster, stored: dict[str, dict[str, Any]], row: int, kind: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert "configured" in apply(cluster, updated(stored, row, kind, before, after))


def explains(answer: str, field: str, remedy: str) -> None:
    """One of the causes that the server lists names both."""
    assert any(field in cause and remedy in cause for cause in answer.split(" * ")), f"{field}: {remedy}: {answer}"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_accepted(cluster: Cluster, room: str, path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        document["metadata"]["namespace"] = room
        (accepted,) = create(cluster, document)
        assert without_defaults(accepted["spec"], document["spec"]) == document["spec"]


@every_kind
def test_a_manifest_for_each_field_is_accepted_and_nothing_is_pruned(cluster: Cluster, room: str, kind: Kind) -> None:
    fields = {sent["metadata"]["name"]: (path, sent) for path, sent in one_per_field(kind)}
    for _, sent in fields.values():
        sent["metadata"]["namespace"] = room
    accepted = create(cluster, *(sent for _, sent in fields.values()))
    assert {made["metadata"]["name"] for made in accepted} == fields.keys()
    for made in accepted:
        path, sent = fields[made["metadata"]["name"]]
        assert without_defaults(made["spec"], sent["spec"]) == sent["spec"], path


@every_kind
def test_every_field_of_status_is_kept(cluster: Cluster, room: str, kind: Kind) -> None:
    store(cluster, room, kind, "full-status")
    status = full_status(kind)
    answer = patch_status(cluster, room, kind, "full-status", status, "--dry-run=server", "--output=json")
    assert json.loads(answer)["status"] == status


def test_a_status_in_a_manifest_is_not_taken_over(cluster: Cluster, room: str) -> None:
    made = minimal(EMBEDDING_MODELS, "own-status") | {"status": {"replicas": 7}}
    made["metadata"]["namespace"] = room
    (accepted,) = create(cluster, made)
    assert "status" not in accepted


@pytest.mark.parametrize("kind", [EMBEDDING_MODELS, SEARCH_SERVICES], ids=lambda kind: kind.kind)
def test_people_and_autoscalers_can_scale(cluster: Cluster, room: str, kind: Kind) -> None:
    default = kind.model.model_validate(store(cluster, room, kind, "scaled")).spec.replicas
    patch_status(cluster, room, kind, "scaled", {"replicas": 0, "selector": "app=scaled"})
    seen = scale(cluster, room, kind)
    assert seen["spec"]["replicas"] == default
    assert seen["status"]["selector"]

    path = scale_path(room, kind)
    cluster.kubectl("replace", f"--raw={path}", "--filename=-", input=json.dumps(wanted(seen, replicas=5)))
    assert get(cluster, room, kind, "scaled")["spec"]["replicas"] == 5
    cluster.kubectl("scale", f"{kind.short_name}/scaled", f"--namespace={room}", "--replicas=0")
    assert get(cluster, room, kind, "scaled")["spec"]["replicas"] == 0


def wanted(seen: dict[str, Any], *, replicas: int) -> dict[str, Any]:
    """A Scale to put, whatever else has changed since `seen`."""
    metadata = {name: seen["metadata"][name] for name in ("name", "namespace")}
    return seen | {"metadata": metadata, "spec": {"replicas": replicas}}


def scale_path(room: str, kind: Kind) -> str:
    return f"/apis/embedding-operator.io/v1alpha1/namespaces/{room}/{kind.plural}/scaled/scale"


def scale(cluster: Cluster, room: str, kind: Kind) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(cluster.kubectl("get", f"--raw={scale_path(room, kind)}"))
    return answer


COLUMNS = {
    "em": "NAME READY UPTODATE REVISION DIM ENGINE REPLICAS PROGRESS AGE",
    "vi": "NAME READY UPTODATE MODEL SERVING BUILDING PROGRESS DOCS RECALL AGE",
    "ssvc": "NAME READY UPTODATE INDEX SERVING REPLICAS PROGRESS ENDPOINT AGE",
}


@every_kind
def test_get_prints_the_columns(cluster: Cluster, room: str, kind: Kind) -> None:
    store(cluster, room, kind, "columns")
    listed = cluster.kubectl("get", kind.short_name, "columns", f"--namespace={room}")
    assert listed.splitlines()[0].split() == COLUMNS[kind.short_name].split()
    assert f"{kind.singular}.embedding-operator.io/columns" in cluster.kubectl("get", "embedding", f"--namespace={room}")


def test_the_columns_tell_what_status_says(cluster: Cluster, room: str) -> None:
    store(cluster, room, VECTOR_INDEXES, "told")
    condition = full_status(VECTOR_INDEXES)["conditions"][0]
    ready = condition | {"type": "Ready", "status": "True", "reason": "Serving"}
    current = condition | {"type": "UpToDate", "status": "False", "reason": "Rebuilding"}
    status = {
        "conditions": [ready, current],
        "progress": "CatchingUp 62% 3m",
        "active": {"generation": 3, "epoch": 7},
        "rebuild": {"id": "r1", "generation": 4},
        "documents": 1204331,
        "recall": "0.991",
    }
    patch_status(cluster, room, VECTOR_INDEXES, "told", status)
    row = cluster.kubectl("get", "vi", "told", f"--namespace={room}", "--output=wide").splitlines()[1].split()
    assert row[:11] == ["told", "True", "False", "minilm", "3", "4", "CatchingUp", "62%", "3m", "1204331", "0.991"]
    assert "Serving" in row


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("em.spec.model.source", "exactly one of the members"),
        ("em.spec.model.source.huggingFace.revision", "all 40 hex digits"),
        ("em.spec.rollout", "Surge starts a new pod"),
        ("vi.spec.acknowledge", "survives the loss of a volume"),
        ("vi.spec.storage.size", "may only grow"),
        ("ssvc.spec.apiKeysSecretRef", "Absent = open to all pods"),
        ("em.status.conditions", "Reconciling and Stalled"),
    ],
)
def test_explain_prints_what_a_field_is_for(cluster: Cluster, crds: None, field: str, words: str) -> None:
    assert words in " ".join(cluster.kubectl("explain", field).split())


def get(cluster: Cluster, room: str, kind: Kind, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cluster.kubectl("get", kind.plural, name, f"--namespace={room}", "--output=json"))
    return found


def without_defaults(accepted: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    """`accepted` without the one default that a CRD has."""
    return {name: value for name, value in accepted.items() if name in sent or name != "replicas"}


def test_gone_is_never_sent() -> None:
    for case in REFUSED:
        assert "object object" not in json.dumps(manifest(case.kind, case.changes, "x", "y"))
        assert GONE not in manifest(case.kind, case.changes, "x", "y")["spec"].values()
