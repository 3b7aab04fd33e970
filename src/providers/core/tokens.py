"""Access tokens that expire: got, refreshed early, one renewal at a time per account over all processes.

The record of an account, at `token/<account>`, holds its grants: what was given (by digests) and the token that has
come of it. Credentials that are found in a grant are older than its token; others are a new grant. A new token is kept
there before it is used, because the one before may be worth nothing any more.
"""

from __future__ import annotations

import asyncio
from copy import copy
from math import inf
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar, cast

from pydantic import AfterValidator, Field, ValidationError

from providers.core.attempt import ATTEMPT, NO_PLACE, Attempt
from providers.core.codec import decode, encode
from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    ConflictError,
    CredentialRevokedError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from providers.core.lock import locked
from providers.core.models import Model, invalid_request
from providers.core.redact import SecretText
from providers.core.telemetry import digest, logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from providers.core.account import Account

T = TypeVar("T")
Secret = Annotated[str, AfterValidator(SecretText)]

EARLY, EARLY_PART = 86_400.0, 0.2
"""A token is refreshed when less than so many seconds, or such a part of its life, is left of it."""

SECONDS = 30.0
"""How long a renewal may wait for another one, and then ask the vendor."""

HAND_BACK_SECONDS = 10.0

PATIENCE = 2.0
"""Seconds that a call waits for a renewal while the token before is still good."""

AGAIN = 60.0
"""Seconds after a renewal that failed in which a token that is still good is used without trying again."""

DEAD = 300.0
"""Seconds in which the vendor is not asked again after a refusal that need not be for good."""

KNOWN = 20
"""Refresh tokens that a grant remembers."""

GRANTS = 4
"""Grants that an account remembers: old and new processes side by side, and the way back."""

LEAST_KEPT = 3600.0

_flights: set[asyncio.Task[Token]] = set()
"""An event loop does not hold its tasks: one whose callers have gone would be collected."""


class Token(Model):
    """An access token and what belongs to it.

    Attributes:
        access: what requests are sent with; `""` when there is none yet, only the refresh token.
        expires_at: in seconds since the epoch; None when the vendor does not say: used until it is refused.
        refresh: what the next one is got with; `""` for nothing. One that a refresh does not bring stays.
        refresh_expires_at: as `expires_at`.
        obtained_at: when it came; None is the time at which `Tokens` is given it.
        extra: other secrets that come with it; those that a refresh does not bring stay.

    """

    access: Secret
    expires_at: float | None = None
    refresh: Secret = ""
    refresh_expires_at: float | None = None
    obtained_at: float | None = None
    extra: dict[str, Secret] = Field(default_factory=dict)


class Grant(Model):
    """One connection of the account: digests of what it was given and of what came of it, the oldest first.

    `refused` is the digest of what the vendor refused to renew, until `refused_until` or, if that is None, for good.
    `asked_at` is when a token was last obtained anew, or tried to.
    """

    lineage: tuple[str, ...]
    token: Token | None = None
    refused: str = ""
    refused_until: float | None = None
    asked_at: float = 0.0


class Record(NamedTuple):
    """What an account's record says. `stored` is whether our grant's token is the record's, or given anyway."""

    grant: Grant
    others: list[Grant]
    stored: bool


class TokenRefusedError(Exception):
    """What a `send` raises when the vendor's reply says that the access token is bad, and so nothing was done.

    `error` is what the caller gets when another token does not help.
    """

    def __init__(self, error: ProviderError) -> None:
        super().__init__("the vendor refused the access token")
        self.error = error


class Tokens:
    """The tokens of one account.

    Args:
        account: whose they are; its `id` names the record.
        given: the token in the credentials, if there is one.
        seed: everything in the credentials that tokens depend on, as one text (only a digest is kept): with another
            one, what was refused is tried again. With `obtain` it names the grant, and is what does not change with
            the tokens: the key. Otherwise the token given does.
        refresh: asks for the next token. Raises `CredentialRevokedError` when there is none for good, other
            `AuthenticationError`s when the vendor refuses for another reason.
        obtain: asks for one without a refresh token, e.g. with a key.
        variables: what the tenant's credential source is to keep, by the names of the variables.
        reconnect: the error that says how to connect the account again.
        apart: seconds between two `obtain`s, over all processes.
        translate: our error for what `refresh` and `obtain` raise, as an adapter's.

    """

    def __init__(
        self,
        account: Account,
        *,
        given: Token | None,
        seed: str,
        reconnect: Callable[[], CredentialRevokedError],
        refresh: Callable[[Token], Awaitable[Token]] | None = None,
        obtain: Callable[[], Awaitable[Token]] | None = None,
        variables: Callable[[Token], Mapping[str, str]] | None = None,
        apart: float = 0.0,
        translate: Callable[[Exception], ProviderError | None] | None = None,
    ) -> None:
        self._account = account
        self._clock = account.clock
        self._key = f"token/{account.id}"
        if given is not None and not (given.access or given.refresh):
            given = None
        self._given = None if given is None else self._dated(given)
        self._seed = digest(seed)
        self._own = self._seed if given is None or obtain is not None else _name(given)
        self._reconnect = reconnect
        self._refresh = refresh
        self._obtain = obtain
        self._variables = variables
        self._apart = apart
        self._translate = translate
        self._token: Token | None = None
        # The wall time from which on `_token` is not used without a look.
        self._due = -inf
        self._refused = ""
        self._useless, self._useless_until = "", -inf
        self._troubled = False
        self._flight: asyncio.Task[Token] | None = None

    async def get(self) -> Token:
        """The token to send with. One that is good is at hand.

        Raises `CredentialRevokedError` when somebody has to connect the account again, else what kept the vendor from
        giving a token. Not applied, whatever it is.
        """
        token = self._token
        if token is not None:
            now = self._clock.time()
            if now < self._due:
                return token
            if self._good(token):
                return await self._soon(token)
        return await self._renewed()

    async def renew(self, refused: str) -> Token:
        """Another token than `refused`, which the vendor did not take: a newer one if there is one, else a new one.

        Raises as `get`.
        """
        token = self._token
        if token is not None and token.access != refused and self._clock.time() < self._due:
            return token
        self._refused, self._due = refused, -inf
        return await self._renewed()

    async def authorised(self, send: Callable[[str], Awaitable[T]]) -> T:
        """What `send` returns for the access token. After a `TokenRefusedError` it is called once more, with another.

        Raises as `get`, what `send` raises, and the error in its last `TokenRefusedError`.
        """
        begun, token = self._clock.time(), await self.get()
        try:
            return await send(token.access)
        except TokenRefusedError as refusal:
            if token.access == self._useless and self._clock.time() < self._useless_until:
                raise refusal.error from None
        token = await self.renew(token.access)
        if _age(token) < begun:
            # Somebody else's, and not of now: it may have been refused since.
            try:
                return await send(token.access)
            except TokenRefusedError:
                token = await self.renew(token.access)
        try:
            return await send(token.access)
        except TokenRefusedError as refusal:
            # New ones are refused, too: it is not the token, and more of them would not help.
            self._useless, self._useless_until = token.access, self._clock.time() + AGAIN
            raise refusal.error from None

    async def aclose(self) -> None:
        """Wait for a renewal under way: what it gets must not be lost."""
        flight = self._flight
        if flight is not None and flight.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([flight])

    async def _soon(self, token: Token) -> Token:
        """A newer token, unless that takes too long."""
        attempt = ATTEMPT.get() or Attempt()
        sent = attempt.sent
        try:
            with self._clock.timeout(PATIENCE):
                return await self._renewed()
        except TimeoutError:
            # The renewal goes on without us.
            attempt.sent = sent
            if self._token is token:
                self._due = _sooner(self._clock.time() + AGAIN, token)
            return self._token or token

    async def _renewed(self) -> Token:
        """What the renewal under way brings, or one that is begun now. It goes on when its callers have gone."""
        attempt = ATTEMPT.get() or Attempt()
        # Meanwhile nothing of the caller's own is under way.
        sent, attempt.sent = attempt.sent, False
        while True:
            flight = self._flight
            if flight is None or flight.done() or flight.get_loop() is not asyncio.get_running_loop():
                flight = self._flight = asyncio.create_task(self._renewal())
                _flights.add(flight)
                flight.add_done_callback(_landed)
            try:
                token = await asyncio.shield(flight)
            except ProviderError as error:
                # Each caller's own: who failed at what is written into it.
                raise copy(error).with_traceback(error.__traceback__) from error.__cause__
            if token.access != self._refused:
                attempt.sent = sent
                return token

    async def _renewal(self) -> Token:
        """The newest token, or a new one when it is time for that; for want of it the old one, while it is good."""
        clock, before = self._clock, self._token or self._given
        try:
            record = await self._read()
            before = record.grant.token
            if record.stored and before is not None and clock.time() < self._due_of(before):
                return self._adopt(before)
            self._refuse_dead(record.grant)
            until = clock.monotonic() + SECONDS
            async with locked(self._key, store=self._account.store, clock=clock, deadline=until):
                record = await self._read()
                before = record.grant.token
                if not record.stored:
                    await self._save(record.grant, record.others)
                if before is not None and clock.time() < self._due_of(before):
                    return self._adopt(before)
                self._refuse_dead(record.grant)
                token = await self._new(record.grant, record.others)
        except ConflictError:
            msg = "another renewal of the account's token takes too long"
            error: ProviderError = ProviderUnavailableError(msg, code="token", retry_after=1.0)
        except ProviderError as failure:
            error = failure
        else:
            await self._hand_back(token)
            return token
        if before is not None and self._good(before):
            if not self._troubled:
                logger.warning("the token of %s could not be renewed: %s", self._account.id, type(error).__name__)
            self._troubled = True
            return self._adopt(before, clock.time() + AGAIN)
        # The caller's own request was not sent.
        error.outcome, error.retryable = Outcome.NOT_APPLIED, error.repeatable
        raise error

    async def _new(self, grant: Grant, others: list[Grant]) -> Token:
        """Ask the vendor, under the lock."""
        until = self._clock.monotonic() + SECONDS
        token, refusal = grant.token, None
        if self._refresh is not None and token is not None and self._refreshable(token):
            try:
                new = await self._asked(self._refresh(token), Attempt(until))
                return await self._keep(grant, others, _merged(token, new))
            except AuthenticationError as error:
                refusal = error
        if self._obtain is not None:
            asked, attempt = await self._counted(grant, others), Attempt(until)
            try:
                return await self._keep(asked, others, await self._asked(self._obtain(), attempt))
            except AuthenticationError as error:
                grant, refusal = asked, error
            except ProviderError:
                if not attempt.sent:
                    await self._save(grant, others)
                raise
        if refusal is not None:
            for_good = self._obtain is None and isinstance(refusal, CredentialRevokedError)
            await self._bury(grant, others, None if for_good else self._clock.time() + DEAD)
        raise self._lost(refusal) from refusal

    async def _counted(self, grant: Grant, others: list[Grant]) -> Grant:
        """Before it is asked for: the vendor counts that, whatever becomes of it."""
        if not self._apart:
            return grant
        now = self._clock.time()
        wait = grant.asked_at + self._apart - now
        if wait > 0:
            msg = f"the vendor gives a token once in {self._apart:g} seconds; the next one in {wait:.0f} seconds"
            raise RateLimitedError(msg, code=NO_PLACE, retry_after=wait)
        grant = grant.model_copy(update={"asked_at": now})
        await self._save(grant, others)
        return grant

    async def _asked(self, ask: Awaitable[Token], attempt: Attempt) -> Token:
        # In this task only: what is sent here is not the caller's request.
        ATTEMPT.set(attempt)
        try:
            with self._clock.timeout(attempt.deadline - self._clock.monotonic()):
                return await ask
        except ProviderError:
            raise
        except TimeoutError as error:
            msg = f"no token within {SECONDS:g} seconds"
            raise ProviderTimeoutError(msg, code="token") from error
        except ValidationError as error:
            msg = f"the reply is not as documented: {invalid_request(error).message}"
            raise BadResponseError(msg, code="reply") from error
        except Exception as error:
            named = None if self._translate is None else self._translate(error)
            if named is None:
                raise
            raise named from error

    async def _keep(self, grant: Grant, others: list[Grant], token: Token) -> Token:
        """Store what the vendor gave, then use it. A store that fails does not lose it."""
        token = self._dated(token)
        if token.expires_at is not None and token.expires_at <= self._clock.time():
            # By a clock that is not ours: what was given just now is good.
            token = token.model_copy(update={"expires_at": None})
        self._conceal(token)
        if token.access == self._refused:
            # Given again, so the vendor takes it.
            self._refused = ""
        # From here on it is not lost; others may use it when it is stored.
        self._token, self._due = token, -inf
        try:
            await self._save(self._grown(grant, token), others)
        except ProviderError as error:
            logger.warning("the new token of %s could not be stored: %s", self._account.id, type(error).__name__)
            return self._adopt(token, self._clock.time() + AGAIN)
        return self._adopt(token)

    async def _bury(self, grant: Grant, others: list[Grant], until: float | None) -> None:
        """Remember that there is nothing to be got with what was given."""
        update = {"refused": self._tried(grant), "refused_until": until}
        try:
            await self._save(grant.model_copy(update=update), others)
        except ProviderError as error:
            logger.warning("a refusal of %s could not be stored: %s", self._account.id, type(error).__name__)

    def _refuse_dead(self, grant: Grant) -> None:
        until = inf if grant.refused_until is None else grant.refused_until
        if grant.refused == self._tried(grant) and self._clock.time() < until:
            raise self._lost(None)

    def _lost(self, refusal: AuthenticationError | None) -> CredentialRevokedError:
        error = self._reconnect()
        if refusal is not None:
            error.code = error.code or refusal.code
            error.status = error.status or refusal.status
            error.request_id = error.request_id or refusal.request_id
        return error

    async def _read(self) -> Record:
        grants: list[Grant] = []
        kept = await self._account.store.get(self._key)
        try:
            if kept is not None:
                grants = cast("list[Grant]", decode(list[Grant], kept))
        except ValueError:
            logger.warning("the tokens of %s are of another version", self._account.id)
        found = next((each for each in grants if self._own in each.lineage), None)
        others = [each for each in grants if each is not found]
        grant = found or self._begun(others)
        token, stored = self._token, True
        older = found is None or (token is not None and _age(found.token) <= _age(token))
        if token is not None and _name(token) not in grant.lineage and older:
            # Ours could not be stored, or the store has lost it.
            grant, stored = self._grown(grant, token), False
        if grant.token is not None:
            self._conceal(grant.token)
        return Record(grant, others, stored)

    def _begun(self, others: list[Grant]) -> Grant:
        given = self._given
        if given is not None and any(_name(given) in each.lineage for each in others):
            # Left over from another key: it may be of another account of the vendor's.
            given = None
        return Grant(lineage=(self._own,), token=given)

    async def _save(self, grant: Grant, others: list[Grant]) -> None:
        grants = [grant, *others][:GRANTS]
        now = self._clock.time()
        end = max(_end(each, now) for each in grants)
        ttl = None if end == inf else max(end - now, self._apart, LEAST_KEPT)
        try:
            await self._account.store.put([(self._key, encode(grants))], ttl=ttl)
        except ProviderError as error:
            # The frames of the store hold what is stored, and reporters of errors show them.
            raise error.with_traceback(None) from None

    def _grown(self, grant: Grant, token: Token) -> Grant:
        """The grant with its next token."""
        root, *rest = grant.lineage
        new = [self._own, _name(token)]
        older = [each for each in rest if each not in new]
        lineage = dict.fromkeys((root, *older[-KNOWN:], *new))
        update = {"lineage": tuple(lineage), "token": token, "refused": "", "refused_until": None}
        return grant.model_copy(update=update)

    def _tried(self, grant: Grant) -> str:
        return digest(f"{self._seed} {'' if grant.token is None else _name(grant.token)}")

    async def _hand_back(self, token: Token) -> None:
        if self._variables is None:
            return
        try:
            with self._clock.timeout(HAND_BACK_SECONDS):
                await self._account.hand_back(self._variables(token))
        except Exception as error:  # noqa: BLE001 (the service's own code: whatever it raises may show what it was given)
            logger.warning("the new token of %s could not be handed back: %s", self._account.id, type(error).__name__)

    def _adopt(self, token: Token, due: float | None = None) -> Token:
        """Use it from now on, until `due` or else as long as it is good to."""
        self._token = token
        self._due = self._due_of(token) if due is None else _sooner(due, token)
        self._troubled &= due is not None
        return token

    def _due_of(self, token: Token) -> float:
        """When to look for another."""
        if not token.access or token.access == self._refused:
            return -inf
        if token.expires_at is None:
            return inf
        return token.expires_at - min(EARLY, EARLY_PART * max(token.expires_at - _age(token), 0.0))

    def _good(self, token: Token) -> bool:
        return self._clock.time() < _sooner(inf, token) and self._due_of(token) > -inf

    def _refreshable(self, token: Token) -> bool:
        end = token.refresh_expires_at
        return bool(token.refresh) and (end is None or self._clock.time() < end)

    def _dated(self, token: Token) -> Token:
        if token.obtained_at is not None:
            return token
        return token.model_copy(update={"obtained_at": self._clock.time()})

    def _conceal(self, token: Token) -> None:
        self._account.conceal([token.access, token.refresh, *token.extra.values()])


def _landed(flight: asyncio.Task[Token]) -> None:
    _flights.discard(flight)
    if not flight.cancelled():
        flight.exception()  # waited for or not, it has been seen


def _name(token: Token) -> str:
    """What a grant remembers of it."""
    return digest(token.refresh or token.access)


def _sooner(moment: float, token: Token) -> float:
    """The moment, or the token's end if that comes first."""
    return moment if token.expires_at is None else min(moment, token.expires_at)


def _age(token: Token | None) -> float:
    """When it came; the higher, the newer."""
    return -inf if token is None or token.obtained_at is None else token.obtained_at


def _end(grant: Grant, now: float) -> float:
    """Until when there is something to remember of it."""
    token = grant.token
    if token is None:
        return now
    end = token.refresh_expires_at if token.refresh else token.expires_at
    return inf if end is None else end


def _merged(before: Token, new: Token) -> Token:
    """What a refresh brought, and what it left as it was."""
    update: dict[str, object] = {"extra": {**before.extra, **new.extra}}
    if not new.refresh:
        update |= {"refresh": before.refresh, "refresh_expires_at": before.refresh_expires_at}
    return new.model_copy(update=update)
