"""What every role does before it serves."""

import subprocess
import sys

ROLE = """
import gc
import sys
from embedding_serving.contract.settings import RoleSettings
from embedding_serving.role import run_role

async def serve(settings: RoleSettings) -> int:
    print(gc.get_freeze_count() > loaded * 0.9)
    return 0

loaded = len(gc.get_objects())
sys.exit(run_role(RoleSettings, serve))
"""


def test_garbage_is_not_looked_for_in_what_was_loaded_before_the_role_serves() -> None:
    ran = subprocess.run([sys.executable, "-c", ROLE], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "True"), ran.stderr
