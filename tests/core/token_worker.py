"""One of many processes that use one account: run by `worker.py`. The vendor is a file: every refresh is a line in it.

A refresh token is good once: the next one is one higher than the lines there are.
"""

import asyncio
import os
import time
from pathlib import Path

from providers import Providers, Settings, catalog
from providers.core.operation import Variable, VendorFacts
from providers.core.tokens import Token, TokenRefusedError, Tokens
from providers.email import EmailMessage, MessageRef
from providers.errors import AuthenticationError, CredentialRevokedError

AT_ONCE = 100


def install(file: Path, expires: float) -> None:
    """A vendor of e-mail that gives tokens."""

    def come(token: Token) -> int:
        """How many came before."""
        before = len(file.read_text().splitlines())
        with file.open("a") as lines:
            lines.write(f"{token.refresh} {os.getpid()}\n")
        return before

    async def refresh(token: Token) -> Token:
        before = come(token)
        if token.refresh != f"refresh-token-{before}":
            raise CredentialRevokedError("used before")
        # Long enough for the others to come.
        await asyncio.sleep(0.1)
        number = before + 1
        return Token(access=f"access-{number}", refresh=f"refresh-token-{number}", expires_at=time.time() + 1e6)

    class Vendor:
        facts = VendorFacts(
            vendor="shop",
            capability="email",
            title="Shop",
            adapter="",
            variables=(Variable(name="SHOP_REFRESH", purpose="refresh token", secret=True),),
        )

        def __init__(self, account: object) -> None:
            given = account.get("SHOP_REFRESH")
            self.tokens = Tokens(
                account,
                given=Token(access="access-0", refresh=given, expires_at=expires, obtained_at=0.0),
                seed=given,
                refresh=refresh,
                reconnect=lambda: CredentialRevokedError("connect again"),
            )

        def translate(self, error: Exception) -> None:
            return None

        async def send(self, message: EmailMessage, tracking_id: str) -> MessageRef:
            async def post(access: str) -> str:
                await asyncio.sleep(0)
                if access == message.subject:
                    raise TokenRefusedError(AuthenticationError("no"))
                return access

            return MessageRef(vendor="shop", id=await self.tokens.authorised(post))

        async def aclose(self) -> None:
            await self.tokens.aclose()

    class Entry:
        @staticmethod
        def load() -> type[Vendor]:
            return Vendor

    catalog._plugins = lambda: {"email.shop": Entry}


async def renew(url: str, path: str, expires: str) -> str:
    """Calls with a token that is due, many at once; then the vendor refuses the first that was got."""
    install(Path(path), float(expires))
    environ = {"SHOP_REFRESH": "refresh-token-0"}
    settings = Settings(mode="live", state_url=url, vendors={"email": "shop"}, environ=environ, env_file=None)
    seen = []
    async with Providers(settings, hooks=()) as p:
        for refused in ("nothing", "access-1"):
            mail = EmailMessage(to=("ann@example.com",), subject=refused, text="Hello", sender="shop@example.com")
            refs = await asyncio.gather(*(p.email.send(mail, timeout=60) for _ in range(AT_ONCE)))
            seen.append("/".join(sorted({ref.id for ref in refs})))
    return " ".join(seen)
