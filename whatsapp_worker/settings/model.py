"""The settings themselves.  Field = environment name in lower case; the description is the help.

`Settings(...)` holds exactly what it is given, so a test depends on nothing around it;
`load_settings` (sources.py) is the one place that reads the environment.
"""

import ssl
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from whatsapp_worker.content import ContentPolicy
from whatsapp_worker.phone import PhoneCheck
from whatsapp_worker.settings import rules, tls
from whatsapp_worker.settings.address import Address, Host
from whatsapp_worker.settings.values import (
    Environment,
    Failpoint,
    Ladder,
    LogLevel,
    OnUnknown,
    QrMode,
    Rung,
    Seconds,
    SenderKind,
    Topology,
    choices,
    read_ladder,
)


def _port(given: dict[str, Any]) -> int:
    return 5671 if given.get("rabbitmq_tls") else 5672


def _interval(given: dict[str, Any]) -> float:
    return 0.0 if given.get("whatsapp_sender") is SenderKind.SANDBOX else 1.0


def _level(given: dict[str, Any]) -> LogLevel:
    return LogLevel.INFO if given.get("env") is Environment.PRODUCTION else LogLevel.DEBUG


class Settings(BaseSettings):
    """Everything an operator may decide; frozen, and printing it shows no secret."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", validate_default=True, hide_input_in_errors=True
    )

    # RabbitMQ (names and defaults: seed 003)
    rabbitmq_url: SecretStr | None = Field(
        None,
        description="Full address, `amqp://user:password@host:port/vhost` or `amqps://...`; "
        "replaces user, password, host, port and vhost below",
    )
    rabbitmq_user: str = Field("woragis", min_length=1, description="User name")
    rabbitmq_password: SecretStr = Field(SecretStr("woragis"), description="Password")
    rabbitmq_host: Host = Field("rabbitmq", min_length=1, description="Host name or IP address")
    rabbitmq_tls: bool = Field(False, description="Connect with TLS (`amqps`)")
    rabbitmq_port: int = Field(
        default_factory=_port,
        ge=1,
        le=65535,
        description="Port; the `tcp://...` that Kubernetes sets for a service is understood",
        json_schema_extra={"default": "5672, with TLS 5671"},
    )
    rabbitmq_vhost: str = Field(
        "woragis", description='Virtual host; one leading "/" is cut off, "/" alone is the default'
    )
    rabbitmq_ca_file: Path | None = Field(
        None, description="CA certificates (PEM) to trust instead of the system's"
    )
    rabbitmq_cert_file: Path | None = Field(None, description="Client certificate (PEM)")
    rabbitmq_key_file: Path | None = Field(None, description="Its private key (PEM, unencrypted)")
    rabbitmq_heartbeat: Seconds = Field(
        10.0, ge=1, le=300, description="Heartbeat; a dead connection is noticed after three"
    )

    # Queues (names and defaults: seed 003 and DESIGN 4)
    whatsapp_queue_name: str = Field("whatsapp.queue", description="Work queue")
    whatsapp_exchange: str = Field(
        "woragis.notifications", description="Exchange that publishers publish to"
    )
    whatsapp_routing_key: str = Field(
        "whatsapp.send",
        min_length=1,
        max_length=255,
        description="Routing key that leads from there to the work queue",
    )
    whatsapp_prefetch_count: int = Field(
        1, ge=1, le=1000, description="Messages held at a time; above 1 the order may change"
    )
    whatsapp_dlx: str = Field("woragis.dlx", description="Exchange for dead letters")
    whatsapp_topology: Topology = Field(
        Topology.DECLARE,
        description="`declare` creates exchange and work queue when missing, `verify` only checks "
        "that they exist",
    )

    # Messages and failures (DESIGN 3 and 5)
    max_message_bytes: int = Field(
        65536, ge=256, le=16 * 1024 * 1024, description="Longer messages are dead-lettered unread"
    )
    phone_check: PhoneCheck = Field(
        PhoneCheck.FORMAT,
        description="How strictly a destination is checked: `format` (8 to 15 digits, known "
        "country code), `possible` (length fits the country), `valid` (range is in use)",
    )
    content_policy: ContentPolicy = Field(
        ContentPolicy.STANDARD,
        description="Texts refused as attacks: `standard` (scripts, SQL injection), `strict` "
        "(also single SQL words), `off` (none)",
    )
    retry_delays: Ladder = Field(
        read_ladder("5s,30s,2m,10m,1h"),
        description="Waits before the second, third, ... attempt; the last one repeats",
    )
    max_attempts: int = Field(
        6, ge=1, le=100, description="Failed attempts after which a message is dead-lettered"
    )
    on_unknown: OnUnknown = Field(
        OnUnknown.RESEND,
        description="A send ended without an answer: `resend` once (the recipient may get it "
        "twice) or `park` it in the dead-letter queue",
    )
    pause_hold: Seconds = Field(
        300.0,
        ge=0,
        le=1200,
        description="How long held messages wait for an outage to end before they are given back",
    )
    ledger_retention_days: int = Field(
        7, ge=1, le=3650, description="How long sent messages are remembered, in days"
    )

    # WhatsApp (DESIGN 7)
    whatsapp_sender: SenderKind = Field(
        SenderKind.NEONIZE, description="`neonize` sends through WhatsApp, `sandbox` pretends"
    )
    whatsapp_session_path: Path = Field(
        Path("/app/session"),
        description="Directory of session and ledger; must outlive the container",
    )
    whatsapp_send_interval: Seconds = Field(
        default_factory=_interval,
        ge=0,
        le=3600,
        description="Shortest time between two sends, give or take 30 %",
        json_schema_extra={"default": "1s, in the sandbox 0s"},
    )
    send_timeout: Seconds = Field(
        90.0, gt=0, le=600, description="A send that has not ended by then restarts the worker"
    )
    whatsapp_qr: QrMode = Field(
        QrMode.AUTO,
        description="Where the pairing code is drawn: `auto` (on a terminal), `stdout`, `off`",
    )
    whatsapp_pair_phone: SecretStr | None = Field(
        None, description="Pair by a code typed on this phone (`+5511...`) instead of a QR code"
    )
    whatsapp_proxy_url: SecretStr | None = Field(
        None, description="Proxy to WhatsApp: `http://`, `https://` or `socks5://`"
    )
    sandbox_rules: str | None = Field(
        None, repr=False, description="What the sandbox does to whom: JSON, or `@file`"
    )
    sandbox_outbox: Path | None = Field(
        None, description="File (JSON lines) in which the sandbox keeps what it sent"
    )

    # Health, logs, stopping (DESIGN 8 to 10)
    http_host: str = Field("0.0.0.0", min_length=1, description="Address of health and metrics")  # noqa: S104  Probes come from outside the container.
    http_port: int = Field(8080, ge=0, le=65535, description="Its port; 0 takes any free one")
    ready_requires_whatsapp: bool = Field(
        False, description="Ready (`/readyz`) only while WhatsApp is online"
    )
    drain_timeout: Seconds = Field(
        85.0, ge=1, le=600, description="When stopping, how long the send in flight may take"
    )
    env: Environment = Field(
        Environment.DEVELOPMENT,
        description="`production` logs JSON, `development` readable text",
    )
    log_level: LogLevel = Field(
        default_factory=_level,
        description="`DEBUG`, `INFO`, `WARNING` or `ERROR`",
        json_schema_extra={"default": "DEBUG, in production INFO"},
    )
    log_to_file: bool = Field(False, description="Write logs to a file as well")
    log_dir: Path = Field(Path("logs"), description="Directory of that file")

    # Tests of crashes (DESIGN 6)
    failpoint: Failpoint | None = Field(
        None,
        description="Where the worker kills itself by SIGKILL (`ENV=production` refuses it): "
        + ", ".join(f"`{each}`" for each in Failpoint),
    )

    notes: tuple[str, ...] = Field(default=(), exclude=True, repr=False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: the environment is read by `load_settings`, and nowhere else."""
        return (init_settings,)

    # What follows from them ---------------------------------------------------------------------

    @property
    def amqp_url(self) -> SecretStr:
        """The full address of RabbitMQ, each part escaped."""
        return SecretStr(self._address.url())

    @property
    def amqp_address(self) -> str:
        """The address without user and password, fit for logs."""
        return self._address.public()

    @property
    def dead_letter_queue(self) -> str:
        """Where dead letters lie (the family's convention, seed 003)."""
        return f"{self.whatsapp_queue_name}.failed"

    def retry_queue(self, rung: Rung) -> str:
        """Where a message waits for its next attempt."""
        return f"{self.whatsapp_queue_name}.retry.{rung.label}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed but probably not meant, a line each; the app logs them at start."""
        return (*self.notes, *rules.warnings(self))

    def ssl_context(self) -> ssl.SSLContext | None:
        """TLS as configured, None without TLS; made anew each time to notice renewed files.

        Raises:
            Misconfigured: a certificate or key can not be read or do not belong together.
        """
        if not self._address.tls:
            return None
        files = (self.rabbitmq_ca_file, self.rabbitmq_cert_file, self.rabbitmq_key_file)
        return tls.context(*files)

    @property
    def _address(self) -> Address:
        if self.rabbitmq_url is not None:
            return Address.parse(self.rabbitmq_url.get_secret_value())
        return Address(
            tls=self.rabbitmq_tls,
            user=self.rabbitmq_user,
            password=self.rabbitmq_password.get_secret_value(),
            host=self.rabbitmq_host,
            port=self.rabbitmq_port,
            vhost=self.rabbitmq_vhost.removeprefix("/") or "/",
        )

    # Rules --------------------------------------------------------------------------------------

    @field_validator("*", mode="before")
    @classmethod
    def _ignore_case_of_choices(cls, given: object, info: ValidationInfo) -> object:
        text = rules.text(given).strip().casefold() if isinstance(given, str) else None
        every = choices(cls.model_fields[str(info.field_name)].annotation)
        return next((each for each in every if each.casefold() == text), given)

    @field_validator("whatsapp_queue_name")
    @classmethod
    def _leave_room_for_suffixes(cls, name: str) -> str:
        return rules.amqp_name(name, room=200)  # The longest name is 255 bytes, ".retry.<label>".

    @field_validator("whatsapp_exchange", "whatsapp_dlx")
    @classmethod
    def _name_exchange(cls, name: str) -> str:
        return rules.amqp_name(name, room=255)

    @field_validator("rabbitmq_url", "whatsapp_proxy_url", "whatsapp_pair_phone")
    @classmethod
    def _check_secret(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        checks = {"rabbitmq_url": Address.parse, "whatsapp_proxy_url": rules.proxy}
        if secret is not None:
            checks.get(str(info.field_name), rules.phone)(secret.get_secret_value())
        return secret

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if problems := list(rules.errors(self)):
            raise ValueError("\n".join(problems))
        return self
