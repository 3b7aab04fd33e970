"""What the gateway's routes take: the fields of the sheet, their limits and defaults. Other fields are ignored."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Body(BaseModel):
    """Comes as JSON."""


class Query(BaseModel):
    """Comes in the query; as it is, for routes that ask for nothing."""


class Generate(Body):
    """``POST /generate``."""

    user_id: str
    service: str
    task_type: str = "general"
    prompt: str
    system: str = ""
    max_tokens: int = Field(default=1000, ge=1, le=8000)
    temperature: float = Field(default=0.7, ge=0, le=2)
    json_mode: bool = False


class NewProvider(Body):
    """``POST /providers``."""

    name: str
    display_name: str
    api_key: str
    base_url: str | None = None
    models: list[str] = []
    is_enabled: bool = True
    rate_limit_rpm: int = 60
    rate_limit_tpm: int = 100_000
    priority: int = 10


class ProviderChange(Body):
    """``PATCH /providers/{id}``: what is given is changed; the name stays."""

    display_name: str | None = None
    api_key: str | None = None
    base_url: str | None = None
    models: list[str] | None = None
    is_enabled: bool | None = None
    rate_limit_rpm: int | None = None
    rate_limit_tpm: int | None = None
    priority: int | None = None


class NewOverride(Body):
    """``POST /overrides``; without a service it is for all of them."""

    user_id: str
    service_name: str | None = None
    provider_name: str
    model_name: str


class OfUser(Query):
    """``GET /overrides``."""

    user_id: str | None = None


class Period(Query):
    """``GET /usage/...``."""

    days: int = Field(default=30, ge=1, le=365)


class Customers(Period):
    """``GET /usage/by-customer``."""

    limit: int = Field(default=50, ge=1, le=500)
