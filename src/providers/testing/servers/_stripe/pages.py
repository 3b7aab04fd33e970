"""The pages people see: checkout, portal, invoice. Plain, so that a test can press their buttons."""

from __future__ import annotations

from html import escape

from providers.testing.servers._stripe.call import Obj
from providers.testing.servers._stripe.customers import DECLINED, SECURE, VISA
from providers.testing.servers._stripe.money import THREE_DECIMAL, ZERO_DECIMAL


def amount(value: int, currency: str) -> str:
    """An amount for people: ``29.00 USD``."""
    digits = 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2
    return f"{value / 10**digits:,.{digits}f} {currency.upper()}"


def document(title: str, body: str) -> str:
    """A page."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
        f"<body><h1>{escape(title)}</h1>{body}<p><small>Local test server: no money moves.</small></p></body></html>"
    )


def checkout(one: Obj, lines: list[Obj], problem: str = "") -> str:
    """The page of a checkout: what it costs, Pay and Decline."""
    rows = "".join(
        f"<li>{escape(str(each['description']))} \u00d7 {each['quantity'] or 'usage'}: "
        f"{amount(each['amount_total'], each['currency'])}</li>"
        for each in lines
    )
    said = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    back = f'<p><a href="{escape(one["cancel_url"])}">Back</a></p>' if one["cancel_url"] else ""
    buttons = "".join(
        f'<button type="submit" name="card" value="{card}">{label}</button>'
        for card, label in ((VISA, "Pay"), (SECURE, "Pay with 3D Secure"), (DECLINED, "Decline"))
    )
    total = amount(one["amount_total"], one["currency"])
    return document(
        "Checkout", f'{said}<ul>{rows}</ul><p>Due now: {total}</p><form method="post">{buttons}</form>{back}'
    )


def over(one: Obj) -> str:
    """The page of a checkout that is complete or expired."""
    return document("Checkout", f"<p>This session is {escape(str(one['status']))}.</p>")


def portal(one: Obj, customer: Obj, subscriptions: list[Obj], invoices: list[Obj]) -> str:
    """The customer's subscriptions, each with its buttons, and invoices."""
    rows = "".join(
        f"<li>{escape(each['id'])}: {escape(each['status'])}"
        f"{', ends with the period' if each['cancel_at_period_end'] else ''}"
        f'<form method="post"><input type="hidden" name="subscription" value="{escape(each["id"])}">'
        f'<button type="submit" name="action" value="{"keep" if each["cancel_at_period_end"] else "cancel"}">'
        f"{'Keep' if each['cancel_at_period_end'] else 'Cancel'}</button></form></li>"
        for each in subscriptions
    )
    bills = "".join(
        f'<li><a href="{escape(each["hosted_invoice_url"] or "#")}">{escape(each["number"] or each["id"])}</a>: '
        f"{amount(each['total'], each['currency'])}, {escape(each['status'])}</li>"
        for each in invoices
    )
    back = f'<p><a href="{escape(one["return_url"])}">Back</a></p>' if one["return_url"] else ""
    card = (
        '<form method="post"><input name="card" value="pm_card_visa">'
        '<button type="submit" name="action" value="card">Change card</button></form>'
    )
    who = escape(str(customer["email"] or customer["id"]))
    return document("Billing", f"<p>{who}</p><ul>{rows}</ul>{card}<ul>{bills}</ul>{back}")


def invoice(one: Obj, problem: str = "") -> str:
    """The page of an invoice, with a Pay button while it is open."""
    rows = "".join(
        f"<li>{escape(str(each['description']))}: {amount(each['amount'], each['currency'])}</li>"
        for each in one["lines"]["data"]
    )
    said = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    button = (
        f'<form method="post"><button type="submit" name="card" value="{VISA}">Pay</button></form>'
        if one["status"] == "open"
        else ""
    )
    due = f"Due: {amount(one['amount_remaining'], one['currency'])}, {one['status']}"
    return document(f"Invoice {one['number']}", f"{said}<ul>{rows}</ul><p>{due}</p>{button}")
