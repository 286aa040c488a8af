"""What is learned of replicas of different versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from gateway.balancing.reflected import ReflectedReplicas
from gateway.balancing.replicas import Replicas
from gateway.balancing.resolving import Resolver
from gateway.reflection import Learned, ReflectionError, UnreachableError, UnsupportedError
from tests.support.fakes.replicas import QUICK, Balanced, Names


class FakeReflection:
    """What a replica reflects, or the error of asking it."""

    def __init__(self, answer: Learned | ReflectionError) -> None:
        self.answer = answer

    async def learn(self) -> Learned:
        """Return it."""
        if isinstance(self.answer, ReflectionError):
            raise self.answer
        return self.answer

    async def services(self) -> frozenset[str]:
        """Return its services."""
        return (await self.learn()).services


OLD, NEW = Learned(frozenset({"A", "B"}), b"a"), Learned(frozenset({"A", "B", "C"}), b"abc")
OTHER = Learned(frozenset({"A", "D"}), b"ad")
AWAY = UnreachableError("away")


@pytest.mark.parametrize(
    ("answers", "learned", "services"),
    [
        ([NEW, NEW], NEW, "ABC"),
        ([NEW, OLD], OLD, "AB"),
        ([OLD, NEW], OLD, "AB"),
        ([AWAY, NEW], NEW, "ABC"),
        ([OTHER, OLD], OLD, "A"),
    ],
)
async def test_replicas_of_different_versions(
    answers: Sequence[Learned | ReflectionError], learned: Learned, services: str
) -> None:
    """What every replica can serve is served: that of the oldest one; a replica that is away is left out."""
    async with Balanced(len(answers)) as balanced:
        for each, answer in zip(balanced.opened, answers, strict=True):
            each.reflection = FakeReflection(answer)
        reflected = ReflectedReplicas(balanced.replicas)
        assert await reflected.learn() == learned
        assert await reflected.services() == frozenset(services)


@pytest.mark.parametrize(
    ("answers", "error"),
    [([AWAY, AWAY], UnreachableError), ([OLD, UnsupportedError("none")], UnsupportedError)],
)
async def test_replicas_that_cannot_be_asked(
    answers: Sequence[Learned | ReflectionError], error: type[ReflectionError]
) -> None:
    """Without an answer nothing is learned, and neither when a replica that answers has no reflection."""
    async with Balanced(len(answers)) as balanced:
        for each, answer in zip(balanced.opened, answers, strict=True):
            each.reflection = FakeReflection(answer)
        with pytest.raises(error):
            await ReflectedReplicas(balanced.replicas).learn()


async def test_reflection_without_an_address() -> None:
    """Before the name of the service is resolved, it cannot be reached."""
    replicas = Replicas(Resolver("unknown:1", Names()), cast("Any", None), QUICK)
    with pytest.raises(UnreachableError):
        await ReflectedReplicas(replicas).learn()
