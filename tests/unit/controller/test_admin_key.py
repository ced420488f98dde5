"""The key that signs commands: one an installation, made once, however many operators begin at the same time."""

import asyncio
import base64
from typing import Any

import pytest

from embedding_operator.admin_key import ENTRY, UnusableKey, load_or_create
from embedding_operator.resources import SECRET, Manifest, Resource
from fixtures.kube import FakeKube

AT = ("embedding-system", "embedding-operator-admin-key")


async def test_it_is_made_once_and_then_read() -> None:
    kube = FakeKube()
    first = await load_or_create(kube, *AT)
    assert (await load_or_create(kube, *AT)).public == first.public
    assert len(base64.b64decode(first.public)) == 32
    assert len([write for write in kube.writes if "Secret" in write]) == 1


async def test_two_that_make_one_at_the_same_time_agree() -> None:
    kube = FakeKube()
    get = kube.get

    async def get_at_the_same_time(resource: Resource, namespace: str, name: str) -> Manifest | None:
        found = await get(resource, namespace, name)
        if found is None:
            await asyncio.sleep(0)  # the other one looks too
        return found

    kube.get = get_at_the_same_time  # type: ignore[method-assign]  # both look before either writes
    keys = await asyncio.gather(load_or_create(kube, *AT), load_or_create(kube, *AT))
    assert keys[0].public == keys[1].public


@pytest.mark.parametrize("data", [{}, {ENTRY: "!"}, {ENTRY: base64.b64encode(b"no key").decode()}, None])
async def test_a_secret_without_a_key_is_named_with_the_remedy(data: Any) -> None:
    kube = FakeKube()
    kube.add(SECRET, {"metadata": {"name": AT[1], "namespace": AT[0]}, "data": data})
    with pytest.raises(UnusableKey, match=r"embedding-system/embedding-operator-admin-key.*delete it"):
        await load_or_create(kube, *AT)
