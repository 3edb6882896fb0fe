"""Settings: from `PROFILESTREAM_*` in the environment, from flags, or by default. Every limit is here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

HEARTBEAT_MS_MAX = 500

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", max_length=64)]


class Settings(BaseSettings):
    """Addresses, names and limits of one installation.

    `kafka` is a bootstrap list (`host:port,host:port`), `redis` a URL (`redis://`, `rediss://`,
    `redis+sentinel://host:port/service`, `redis+cluster://host:port`).
    """

    model_config = SettingsConfigDict(env_prefix="PROFILESTREAM_", extra="ignore", validate_default=True)

    kafka: str | None = None
    redis: str | None = None
    namespace: Name = "ps"
    definitions: str | None = None

    # Topic names of what profilestream itself writes.
    changes_topic: str = "segment-changes"
    dead_letters_topic: str = "dead-letters"
    rekeyed_topic: str = "rekeyed"
    generations_topic: str = "generations"
    announced_topic: str = "announced"
    redriven_topic: str = "redriven"

    # Limits of one commit, of memory, of what may wait.
    commit_customers_max: int = Field(250, ge=1, le=5_000)
    commit_bytes_max: int = Field(256 * 1024, ge=1024)
    commit_changes_max: int = Field(5_000, ge=1)
    commits_in_flight_max: int = Field(4, ge=1, le=64)
    cached_profiles_max: int = Field(100_000, ge=1_000)
    waiting_bytes_max: int = Field(64 * 1024 * 1024, ge=1024 * 1024)
    outbox_changes_max: int = Field(100_000, ge=1)
    remembered_ids_max: int = Field(256, ge=1, le=4_096)
    remembered_ids_ms_max: int = Field(24 * 3_600_000, ge=0)
    map_keys_max: int = Field(1_000, ge=1, le=100_000)
    timers_page_max: int = Field(250, ge=1, le=5_000)
    passing_time_at_once_max: int = Field(2, ge=1, le=64)

    # Times.
    future_ms_max: int = Field(5 * 60 * 1000, ge=0)
    head_check_interval_ms: int = Field(1_000, ge=10)
    session_timeout_ms: int = Field(10_000, ge=1_000)
    tick_interval_ms: int = Field(200, ge=5)
    keep_former_ms: int = Field(24 * 3_600_000, ge=0)
    promote_lag_records_max: int = Field(10_000, ge=0)
    align_records_min: int = Field(500, ge=1)
    align_interval_ms: int = Field(15_000, ge=1)
    lag_report_interval_ms: int = Field(3_000, ge=100)

    @property
    def heartbeat_ms(self) -> int:
        """How often a member of a group asks the broker: as late it hears that others join or leave, and all wait."""
        return min(HEARTBEAT_MS_MAX, self.session_timeout_ms // 4)

    @property
    def source(self) -> str:
        """The `source` of every segment change."""
        return f"profilestream/{self.namespace}"
