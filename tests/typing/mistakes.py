"""What type checkers must refuse. Each ignore is checked to be needed. Checked, never run."""

from providers import Providers, Settings
from providers.email import EmailMessage, Recipient


async def mistakes(p: Providers) -> None:
    await p.email.send("hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await p.email.send(EmailMessage(subjekt="Hi"))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await p.email.send(EmailMessage(text="Hi"), 5)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    p.email.send_campaign(EmailMessage(text="Hi"), [])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Recipient(name="Ann")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Settings(mod="live")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await p.fax.send()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
