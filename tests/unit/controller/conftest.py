"""Fixtures of the controller's tests."""

import pytest

from fixtures.controller import World


@pytest.fixture
def world() -> World:
    return World()
