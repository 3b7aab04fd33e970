"""A text that the gateway kept although it was cut short is not served to who allows more."""

import asyncio
import json
import logging

import pytest

from providers import Providers, Settings
from providers.core.errors import ProviderError, ProviderUnavailableError
from providers.core.store import MemoryStore
from providers.llm import StopReason
from providers.testing.clock import ManualClock
from providers.testing.servers import Fault
from providers.testing.servers.gateway import GatewayServer

GENERATE = ("POST", "/api/v1/generate")
LONG = " ".join(f"word{number}" for number in range(300))
CUT = StopReason.MAX_TOKENS


class Fleet:
    """Processes that ask one gateway: each has a state of its own, unless they share one."""

    def __init__(self, server, clock):
        self.server, self.clock = server, clock

    def open(self, store=None, **environ):
        env = {**self.server.env, "PROVIDER_MODE": "live", "PROVIDER_LLM": "gateway", **environ}
        env["PROVIDER_RATE_GATEWAY"] = "100000/second"
        return Providers(Settings(environ=env, env_file=None), clock=self.clock, store=store)

    @property
    def prompts(self):
        return [json.loads(request.body)["prompt"] for request in self.server.requests]

    def answers_at_length(self, times=None):
        self.server.answer(LONG, times=times)


@pytest.fixture
def fleet():
    clock = ManualClock()
    with GatewayServer(clock=clock.time, rate_limit=1_000_000) as server:
        yield Fleet(server, clock)


def words(answer):
    return len(answer.text.split())


def shown(*answers):
    return [(words(answer), answer.cached, answer.stop_reason) for answer in answers]


def test_who_allows_more_gets_more_and_the_next_repeat_is_free(fleet):
    fleet.answers_at_length()

    async def scenario():
        async with fleet.open() as p:
            return [await p.llm.complete("Tell", max_tokens=limit) for limit in (50, 200, 200, 50)]

    answers = asyncio.run(scenario())
    assert shown(*answers) == [(50, False, CUT), (200, False, CUT), (200, True, CUT), (50, True, CUT)]
    assert fleet.prompts == ["Tell", *["Tell\n\n(At most 200 tokens.)"] * 2, "Tell"]
    assert len(fleet.server.calls) == 2


def test_a_text_that_is_whole_is_served_to_everybody_as_it_is(fleet):
    fleet.server.answer("one two three", times=None)

    async def scenario():
        async with fleet.open() as p:
            return [await p.llm.complete("Count", max_tokens=limit) for limit in (100, 1000, 2, 100)]

    answers = asyncio.run(scenario())
    # Cut at 2 a new one would be; this one is there, whole and free.
    assert shown(*answers) == [(3, False, None), (3, True, None), (3, True, None), (3, True, None)]
    assert fleet.prompts == ["Count"] * 4
    assert len(fleet.server.calls) == 1


def test_a_text_cut_at_more_than_is_wanted_now_is_served_and_told_to_be_cut(fleet):
    fleet.answers_at_length()

    async def scenario():
        async with fleet.open() as p:
            return [await p.llm.complete("Tell", max_tokens=limit) for limit in (200, 50)]

    assert shown(*asyncio.run(scenario())) == [(200, False, CUT), (200, True, CUT)]


def test_what_one_process_knows_the_others_know_that_share_its_state(fleet):
    fleet.answers_at_length()
    store = MemoryStore(fleet.clock)

    async def scenario():
        async with fleet.open(store) as one, fleet.open(store, PROVIDER_SERVICE="postpilot") as other:
            first = await one.llm.complete("Tell", max_tokens=50, user_id="u-1")
            second = await other.llm.complete("Tell", max_tokens=400, user_id="u-2")
            third = await one.scoped("m-1").llm.complete("Tell", max_tokens=400)
            return first, second, third

    assert shown(*asyncio.run(scenario())) == [(50, False, CUT), (300, False, None), (300, True, None)]
    assert len(fleet.prompts) == 3


def test_of_a_text_that_somebody_else_asked_for_nothing_is_known_and_it_is_asked_for_once_more(fleet):
    fleet.answers_at_length()

    async def scenario():
        async with fleet.open() as one, fleet.open() as other:
            await one.llm.complete("Tell", max_tokens=50)
            first = await other.llm.complete("Tell", max_tokens=400)
            again = await other.llm.complete("Tell", max_tokens=400)
        async with fleet.open() as third:
            return first, again, await third.llm.complete("Tell", max_tokens=400)

    assert shown(*asyncio.run(scenario())) == [(300, False, None), (300, True, None), (300, True, None)]
    varied = "Tell\n\n(At most 400 tokens.)"
    # Asked plainly, found to be of unknown origin, asked in other words; after that in these at once.
    assert fleet.prompts == ["Tell", "Tell", varied, varied, "Tell", varied]
    assert len(fleet.server.calls) == 2


def test_a_text_of_unknown_origin_is_enough_where_it_is_as_long_as_wanted(fleet):
    fleet.answers_at_length()

    async def scenario():
        async with fleet.open() as one, fleet.open() as other:
            await one.llm.complete("Tell", max_tokens=200)
            return [await other.llm.complete("Tell", max_tokens=limit) for limit in (200, 50)]

    # Exactly as long as allowed it is cut; longer than that, nobody knows.
    assert shown(*asyncio.run(scenario())) == [(200, True, CUT), (200, True, None)]
    assert len(fleet.server.calls) == 1


def test_a_repeat_after_a_lost_reply_is_the_answer_that_was_paid_for(fleet):
    fleet.server.answer("one two three", times=None)
    fleet.server.stage(Fault.RESET_AFTER, match=GENERATE)

    async def scenario():
        async with fleet.open() as p:
            return await p.llm.complete("Count", max_tokens=100)

    assert shown(asyncio.run(scenario())) == [(3, True, None)]
    assert len(fleet.server.calls) == 1
    assert fleet.prompts == ["Count", "Count"]


def test_a_repeat_after_a_deadline_is_the_answer_that_was_paid_for(fleet):
    fleet.server.answer("one two three", times=None)
    fleet.server.stage(Fault.SLOW_HEADERS, match=GENERATE)

    async def scenario():
        async with fleet.open() as p:
            asking = asyncio.ensure_future(p.llm.complete("Count", max_tokens=100, timeout=10))
            await asyncio.to_thread(fleet.server.wait_for_requests, 1)
            fleet.clock.advance(11)
            with pytest.raises(ProviderError):
                await asking
            fleet.server.release()
            return await p.llm.complete("Count", max_tokens=100)

    assert shown(asyncio.run(scenario())) == [(3, True, None)]
    assert len(fleet.server.calls) == 1


def test_a_cut_text_whose_reply_was_lost_is_not_taken_for_whole(fleet):
    fleet.answers_at_length()
    fleet.server.stage(Fault.RESET_AFTER, match=GENERATE)

    async def scenario():
        async with fleet.open() as p:
            first = await p.llm.complete("Tell", max_tokens=50)
            return first, await p.llm.complete("Tell", max_tokens=400)

    assert shown(*asyncio.run(scenario())) == [(50, True, CUT), (300, False, None)]


@pytest.mark.parametrize(
    ("refuse", "seconds"),
    [(lambda s: s.upstream(400), 0), (lambda s: s.stage(Fault.RESET_BEFORE, match=GENERATE, times=3), 601)],
    ids=["refused", "lost"],
)
def test_who_got_nothing_takes_nobody_elses_text_for_its_own(fleet, refuse, seconds):
    refuse(fleet.server)
    fleet.answers_at_length()

    async def scenario():
        async with fleet.open() as one, fleet.open() as other:
            with pytest.raises(ProviderError):
                await other.llm.complete("Tell", max_tokens=400)
            # A reply that was lost may have been given: for so long a text that is there is taken for it.
            fleet.clock.advance(seconds)
            await one.llm.complete("Tell", max_tokens=50)
            return await other.llm.complete("Tell", max_tokens=400)

    assert shown(asyncio.run(scenario())) == [(300, False, None)]


def test_a_text_that_took_the_place_of_ours_is_told_by_its_length(fleet):
    async def scenario():
        async with fleet.open() as one, fleet.open() as other:
            fleet.server.answer("one two three")
            await one.llm.complete("Tell", max_tokens=400)
            # The gateway forgot it before we did.
            fleet.clock.advance(3700)
            fleet.answers_at_length()
            await other.llm.complete("Tell", max_tokens=50)
            return [await one.llm.complete("Tell", max_tokens=400) for _ in range(2)]

    assert shown(*asyncio.run(scenario())) == [(300, False, None), (300, True, None)]
    varied = "Tell\n\n(At most 400 tokens.)"
    assert fleet.prompts == ["Tell", "Tell", "Tell", varied, varied]


def test_what_one_gateway_keeps_says_nothing_of_another(fleet):
    fleet.answers_at_length()
    store = MemoryStore(fleet.clock)

    async def scenario(server):
        async with fleet.open(store) as one, Fleet(server, fleet.clock).open(store) as other:
            await one.llm.complete("Tell", max_tokens=50)
            await other.llm.complete("Tell", max_tokens=400)

    with GatewayServer(clock=fleet.clock.time) as server:
        asyncio.run(scenario(server))
        assert Fleet(server, fleet.clock).prompts == ["Tell"]


def test_another_system_prompt_temperature_or_form_is_another_text(fleet):
    fleet.answers_at_length()

    async def scenario():
        async with fleet.open(LLM_GATEWAY_DEFAULT_MODEL="fake-1") as p:
            await p.llm.complete("Tell", max_tokens=50)
            await p.llm.complete("Tell", max_tokens=400, system="Be brief")
            await p.llm.complete("Tell", max_tokens=400, temperature=0.5)

    asyncio.run(scenario())
    assert fleet.prompts == ["Tell"] * 3


def test_what_thinking_left_empty_is_asked_for_anew_by_who_allows_more(fleet):
    fleet.server.think()
    fleet.answers_at_length()

    async def scenario():
        async with fleet.open() as p:
            for _ in range(2):
                with pytest.raises(ProviderError) as caught:
                    await p.llm.complete("Tell", max_tokens=50)
                assert caught.value.code == "empty"
            return await p.llm.complete("Tell", max_tokens=400)

    assert shown(asyncio.run(scenario())) == [(300, False, None)]
    assert fleet.prompts[:2] == ["Tell", "Tell"]


def test_json_that_was_cut_for_one_caller_is_whole_for_the_next(fleet):
    whole = json.dumps({"value": ["w"] * 40}).replace(",", " ,")
    fleet.server.answer(whole, times=None)

    async def scenario():
        async with fleet.open() as p:
            with pytest.raises(ProviderError) as caught:
                await p.llm.complete_json("List", list[str], max_tokens=10)
            return caught.value, (await p.llm.complete_json("List", list[str], max_tokens=400)).value

    error, value = asyncio.run(scenario())
    assert error.code == "max_tokens"
    assert value == ["w"] * 40
    assert [prompt.endswith("(At most 400 tokens.)") for prompt in fleet.prompts] == [False, True]


class Failing(MemoryStore):
    """Holds limits and pauses, and fails at everything else."""

    async def claim(self, items, *, ttl=None):
        raise ProviderUnavailableError("the store is away", code="store")

    async def put(self, items, *, ttl=None):
        raise ProviderUnavailableError("the store is away", code="store")

    async def get(self, key):
        raise ProviderUnavailableError("the store is away", code="store")


def test_a_store_that_fails_costs_the_record_and_not_the_answer(fleet, caplog):
    fleet.answers_at_length()
    store = Failing(fleet.clock)

    async def scenario():
        async with fleet.open(store) as p:
            first = await p.llm.complete("Tell", max_tokens=50)
            # Nothing is known of any text now: what may be cut is asked for once more.
            return first, await p.llm.complete("Tell", max_tokens=400), await p.llm.complete("Tell", max_tokens=400)

    with caplog.at_level(logging.WARNING, "providers"):
        answers = asyncio.run(scenario())
    assert shown(*answers) == [(50, False, CUT), (300, False, None), (300, True, None)]
    assert any("cut" in record.message for record in caplog.records)


@pytest.mark.parametrize("junk", [b"", b"{}", b"[1]", b"[1,2,3]", b'["a",1]', b"[null,[]]", b"\xff", b"[1.5,2]"])
def test_a_record_of_another_version_is_no_record(fleet, junk):
    fleet.answers_at_length()
    store = MemoryStore(fleet.clock)

    async def scenario():
        async with fleet.open(store) as p:
            await p.llm.complete("Tell", max_tokens=50)
            (key,) = [key async for key, _ in store.scan("llm/cuts/")]
            await store.put([(key, junk)])
            return await p.llm.complete("Tell", max_tokens=400)

    assert shown(asyncio.run(scenario())) == [(300, False, None)]


def test_the_record_holds_no_words_and_goes_after_two_hours(fleet):
    store = MemoryStore(fleet.clock)

    async def scenario():
        async with fleet.open(store) as p:
            await p.llm.complete("A secret recipe", system="Tell nobody")
            kept = [one async for one in store.scan("llm/cuts/")]
            fleet.clock.advance(7201)
            return kept, [one async for one in store.scan("llm/cuts/")]

    ((key, value),), later = asyncio.run(scenario())
    assert len(key) == len("llm/cuts/") + 32
    assert len(value) < 20
    assert later == []
