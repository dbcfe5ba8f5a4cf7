"""Whose file is inspected next; the inspections are those of the test."""

import asyncio

import pytest

from app.uploads.fair_scheduler import FairScheduler, TooManyInspections


async def inspect(turns: FairScheduler, tenant_id: str, done: list[str]) -> None:
    async with turns.of(tenant_id):
        await asyncio.sleep(0)
        done.append(tenant_id)


def test_tenants_take_turns_however_many_files_one_has_sent() -> None:
    async def order() -> list[str]:
        turns, done = FairScheduler(1, 10), list[str]()
        senders = ["many"] * 6 + ["few", "other", "few"]
        await asyncio.gather(*(inspect(turns, sender, done) for sender in senders))
        return done

    assert asyncio.run(order())[:6] == ["many", "few", "other", "many", "few", "many"]


def test_tenant_with_less_running_comes_first() -> None:
    async def order() -> list[str]:
        turns, done = FairScheduler(2, 10), list[str]()
        async with turns.of("slow"):
            senders = ["slow", "slow", "slow", "quick", "quick"]
            await asyncio.gather(*(inspect(turns, sender, done) for sender in senders))
        return done

    assert asyncio.run(order()) == ["slow", "quick", "quick", "slow", "slow"]


def test_one_more_than_may_wait_is_refused_and_others_are_not() -> None:
    async def fill() -> None:
        turns, done = FairScheduler(1, 2), list[str]()
        async with turns.of("many"):
            waiting = [asyncio.create_task(inspect(turns, "many", done)) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(TooManyInspections) as refused:
                turns.require_place("many")
            assert refused.value.retry_after_s > 0
            with pytest.raises(TooManyInspections):
                await inspect(turns, "many", done)
            turns.require_place("few")
            waiting.append(asyncio.create_task(inspect(turns, "few", done)))
            # What was let in before waits all the same.
            kept = asyncio.create_task(turns.of("many", is_new=False).__aenter__())
            await asyncio.sleep(0)
        await asyncio.gather(*waiting, kept)
        assert sorted(done) == ["few", "many", "many"]

    asyncio.run(fill())


@pytest.mark.parametrize("is_handed_out", [False, True])
def test_who_goes_away_leaves_the_turn_to_others(*, is_handed_out: bool) -> None:
    async def go_away() -> None:
        turns, done = FairScheduler(1, 1), list[str]()
        holder = turns.of("a")
        await holder.__aenter__()
        leaving = asyncio.create_task(inspect(turns, "b", done))
        await asyncio.sleep(0)
        if is_handed_out:
            await holder.__aexit__(None, None, None)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        turns.require_place("b")
        if not is_handed_out:
            await holder.__aexit__(None, None, None)
        await asyncio.wait_for(inspect(turns, "c", done), 60)
        assert done == ["c"]

    asyncio.run(go_away())
