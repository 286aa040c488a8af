"""What all replicas can serve, by their reflection: while a new version is rolled out, replicas differ."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.balancing.replica import Replica
from gateway.balancing.replicas import Replicas
from gateway.reflection import Learned, UnreachableError

T = TypeVar("T")


class ReflectedReplicas:
    """Asks the replicas that calls go to, each as a whole; one that cannot be reached is left out."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas

    async def services(self) -> frozenset[str]:
        """Return the services that every replica lists; ReflectionError when one cannot be asked."""
        return frozenset.intersection(*await self._answers(lambda replica: replica.reflection.services()))

    async def learn(self) -> Learned:
        """Return what the replica with the fewest services and smallest descriptors serves; ReflectionError as above.

        Versions add services and fields, so this is the oldest one, whose calls every other replica can serve. What a
        newer one has beyond that is served when the last old replica is gone.
        """
        answers = await self._answers(lambda replica: replica.reflection.learn())
        return min(answers, key=lambda learned: (len(learned.services), len(learned.descriptors)))

    async def _answers(self, ask: Callable[[Replica], Awaitable[T]]) -> list[T]:
        answers: list[T] = []
        unreachable = UnreachableError("the service cannot be reached: no address of it is known")
        # One after the other: each answer may have megabytes.
        for replica in self._replicas.usable():
            try:
                answers.append(await ask(replica))
            except UnreachableError as error:
                unreachable = error
        if not answers:
            raise unreachable
        return answers
