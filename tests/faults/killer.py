"""Processes that are killed with SIGKILL at drawn moments and started again."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Victim(Protocol):
    """A process of the service. group: those of one group are copies of each other."""

    @property
    def name(self) -> str: ...

    @property
    def group(self) -> str: ...

    def kill(self) -> None: ...

    def start(self) -> None: ...

    def is_ready(self) -> bool: ...


@dataclass(slots=True)
class Killer:
    """sparing: kills one of a group only while another of it is ready, so that somebody is left to answer."""

    victims: Sequence[Victim]
    draw: random.Random
    sparing: bool = True
    pause_seconds: float = 0.5
    kills: int = 0
    killed: dict[str, int] = field(default_factory=dict)
    _down: set[str] = field(default_factory=set)

    async def run(self, kills: int) -> None:
        """Until so many were killed and all are ready again."""
        async with asyncio.TaskGroup() as repairs:
            while self.kills < kills:
                await asyncio.sleep(self.draw.random() * self.pause_seconds)
                victim = self.draw.choice(self.victims)
                if victim.name in self._down or (self.sparing and not self._another(victim)):
                    continue
                self._down.add(victim.name)
                self.kills += 1
                self.killed[victim.name] = self.killed.get(victim.name, 0) + 1
                victim.kill()
                repairs.create_task(self._bring_back(victim, self.draw.random() * 0.5))

    def _another(self, victim: Victim) -> bool:
        return any(one.group == victim.group and one.name != victim.name and one.name not in self._down for one in self.victims)

    async def _bring_back(self, victim: Victim, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        await asyncio.to_thread(victim.start)
        deadline = asyncio.get_running_loop().time() + 120
        while not await asyncio.to_thread(victim.is_ready):
            assert asyncio.get_running_loop().time() < deadline, f"{victim.name} does not come back"
            await asyncio.sleep(0.1)
        self._down.discard(victim.name)
