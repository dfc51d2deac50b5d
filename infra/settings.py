"""All settings, read once in the entry point: environment variables over a TOML file over defaults.

The reference in ``docs/settings.md`` is made from this module.
"""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

CONFIG_FILE = "ROSTERHUB_CONFIG"
"""Environment variable that names the TOML file; without it ``rosterhub.toml`` is read if it is there."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Prefix = Annotated[str, StringConstraints(pattern=r"^([a-zA-Z0-9][a-zA-Z0-9._-]*)?$")]


KafkaConfig = dict[str, str | int | float | bool]
"""Settings for a client of librdkafka."""


class ElmFeed(StrEnum):
    """Release of the ELM feed: 1.4 by time, 1.5 by position."""

    TIME = "1.4"
    POSITION = "1.5"


class GroupProtocol(StrEnum):
    """Protocol of the consumer groups."""

    CLASSIC = "classic"
    CONSUMER = "consumer"


class MoodleSite(BaseModel):
    """One more Moodle site; what is left out is as for the first one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    api_token: SecretStr
    timeout: float | None = Field(default=None, gt=0)
    batch_size: int | None = Field(default=None, ge=1)
    max_input_vars: int | None = Field(default=None, ge=50)
    parallel: int | None = Field(default=None, ge=1)
    rate_limit: int | None = Field(default=None, ge=0)
    timezone: str | None = None
    completion_report_id: int | None = None
    participants_report_id: int | None = None
    student_role_id: int | None = Field(default=None, ge=1)
    teacher_role_id: int | None = Field(default=None, ge=1)
    non_editing_teacher_role_id: int | None = Field(default=None, ge=1)
    default_category_id: int | None = Field(default=None, ge=1)


class OidcGrant(BaseModel):
    """What a group of the identity provider stands for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["viewer", "operator", "admin"]
    tenants: list[Annotated[str, StringConstraints(min_length=1, max_length=100)]] = []


class Settings(BaseSettings):
    """Everything that can be set. Names are the environment variables, in lower case in the TOML file."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)
    _first_target: str | None = PrivateAttr(default=None)

    data_dir: Path = Field(
        default=Path(".rosterhub"),
        description="Folder of the embedded services, of the stages' tables and of logs",
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR")
    log_format: str = Field(default="auto", description="console, json, or auto: console on a terminal")
    default_tenant_id: str = Field(
        default="default", min_length=1, description="Tenant of records that name none"
    )

    kafka_bootstrap_servers: str | None = Field(
        default=None, description="Kafka; if not set, the embedded one"
    )
    kafka_security_protocol: str = Field(
        default="PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: str | None = Field(default=None, description="Such as SCRAM-SHA-512")
    kafka_sasl_username: str | None = Field(default=None, description="Name for SASL")
    kafka_sasl_password: SecretStr | None = Field(default=None, description="Password for SASL")
    kafka_ssl_ca_location: str | None = Field(default=None, description="File with the authorities to trust")
    kafka_group_protocol: GroupProtocol = Field(
        default=GroupProtocol.CLASSIC, description="classic (static membership) or consumer (KIP-848)"
    )
    kafka_replication_factor: int = Field(
        default=1, ge=1, description="Of topics that `hub topics apply` makes"
    )
    topic_prefix: Prefix = Field(default="", description="Put before every topic, group and transactional id")
    topic_partitions: int = Field(default=6, ge=1, description="Of topics that `hub topics apply` makes")
    schema_registry_url: str | None = Field(
        default=None, description="Registry; if not set, the embedded one"
    )
    schema_registry_user_info: SecretStr | None = Field(
        default=None, description="user:password for the registry"
    )
    database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL; if not set, the embedded one"
    )

    mapping_file: Path | None = Field(
        default=None, description="Rules of what records mean in Moodle; if not set, the built-in ones"
    )
    tick_interval: float = Field(
        default=300.0, gt=0, description="Seconds between two looks at what time has brought"
    )
    moodle_username_prefix: str = Field(
        default="sis_", description="Put before the usernames made of numbers of the SIS"
    )
    moodle_target: Name = Field(default="default", description="Name of the Moodle site in topics")
    moodle_sites: dict[Name, MoodleSite] = Field(
        default_factory=dict,
        description="Further Moodle sites by name, for tenants of the mapping file: JSON, or tables of the "
        "TOML file, with url, api_token and what differs from the first site: timeout, batch_size, "
        "max_input_vars, parallel, rate_limit, timezone, default_category_id, report ids, role ids",
    )
    moodle_groups: bool = Field(
        default=False,
        description="Whether somebody who is in no section any more leaves the groups of sections; costs two "
        "look-ups a batch",
    )
    moodle_default_category_id: int = Field(
        default=1, ge=1, description="Category of new courses to which no rule gives another"
    )
    moodle_url: str | None = Field(
        default=None, description="Base address of Moodle; if not set, the simulator"
    )
    moodle_api_token: SecretStr | None = Field(default=None, description="Token of the web service user")
    moodle_timeout: float = Field(default=30.0, gt=0, description="Seconds for one call")
    moodle_batch_size: int = Field(default=500, ge=1, description="Most records in one call")
    moodle_max_input_vars: int = Field(
        default=1000,
        ge=50,
        description="PHP's max_input_vars on the Moodle server; longer forms are cut silently",
    )
    moodle_parallel: int = Field(default=4, ge=1, description="Calls at the same time")
    moodle_rate_limit: int = Field(default=0, ge=0, description="Calls per minute; 0: no limit")
    moodle_rate_limit_max_retries: int = Field(
        default=3, ge=0, description="Quick retries of a call before backing off"
    )
    moodle_rate_limit_base_delay_ms: int = Field(
        default=1000, ge=1, description="First delay of a quick retry"
    )
    moodle_rate_limit_max_delay_ms: int = Field(
        default=30000, ge=1, description="Longest delay of a quick retry"
    )
    moodle_tls_minimum: str = Field(default="1.2", pattern=r"^1\.[23]$", description="Lowest version of TLS")
    moodle_timezone: str = Field(
        default="UTC", description="Time zone of the web service user, of dates in reports"
    )
    moodle_student_role_id: int = Field(default=5, ge=1, description="Role id of students")
    moodle_teacher_role_id: int = Field(default=3, ge=1, description="Role id of teachers")
    moodle_non_editing_teacher_role_id: int = Field(
        default=4, ge=1, description="Role id of non-editing teachers"
    )
    moodle_catalogue_interval: float = Field(
        default=60.0, gt=0, description="Seconds between reads of the catalogue"
    )
    moodle_completion_interval: float = Field(
        default=30.0, gt=0, description="Seconds between reads of completions"
    )
    moodle_sweep_interval: float = Field(
        default=86400.0, gt=0, description="Seconds between reads of all completions"
    )
    moodle_completion_report_id: int | None = Field(
        default=None, description="Custom report of recent completions; if not set, found by its name"
    )
    moodle_participants_report_id: int | None = Field(
        default=None, description="Custom report of all participants; if not set, found by its name"
    )

    elm_api_url: str | None = Field(
        default=None, description="Enrolment feed of ELM; if not set, the simulator"
    )
    elm_api_token: SecretStr | None = Field(default=None, description="Token of the feed")
    elm_feed: ElmFeed = Field(default=ElmFeed.POSITION, description="Release of the feed: 1.4 or 1.5")
    elm_lookback_minutes: int = Field(default=120, ge=1, description="Rolling window of a 1.4 feed")
    elm_overlap: int = Field(
        default=1000, ge=0, description="Positions of a 1.5 feed that every poll reads again"
    )
    elm_poll_interval: float = Field(default=60.0, gt=0, description="Seconds between polls of the feed")
    elm_page_size: int = Field(default=1000, ge=1, description="Records asked for in one page")
    elm_timeout: float = Field(default=60.0, gt=0, description="Seconds for one page")
    elm_timezone: str = Field(default="America/Vancouver", description="Time zone of ELM's server")
    elm_field_names: dict[str, str] = Field(
        default_factory=dict, description="Names of the feed's fields, where they differ, as JSON object"
    )
    elm_ignored_courses: frozenset[str] = Field(
        default=frozenset(), description="COURSE_IDENTIFIERs to pass over, as JSON list"
    )
    elm_create_courses: bool = Field(
        default=False, description="Make courses that Moodle lacks; otherwise they park"
    )
    elm_completion_api_url: str | None = Field(
        default=None, description="Where completions go; if not set, simulator"
    )
    elm_completion_api_token: SecretStr | None = Field(
        default=None, description="Token; if not set, the feed's"
    )

    api_host: str = Field(default="127.0.0.1", description="Address on which the HTTP API listens")
    api_port: int = Field(
        default=8080, ge=0, le=65535, description="Its port; several processes may share it"
    )
    api_max_body_mb: float = Field(default=64.0, gt=0, description="A larger request is refused; megabytes")
    api_rate_limit: int = Field(
        default=0, ge=0, description="Requests per minute and API key in one process; 0: no limit"
    )
    api_idempotency_hours: float = Field(
        default=1.0, gt=0, description="Hours for which the answer to an Idempotency-Key is kept"
    )

    api_public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#@\s]+/?$",
        description="Address by which browsers reach the dashboard, such as https://hub.example.org; if not "
        "set, that of API_HOST and API_PORT. With https cookies demand it",
    )
    api_proxies: int = Field(
        default=0,
        ge=0,
        description="Reverse proxies before the HTTP API that note the browser's address in X-Forwarded-For",
    )
    dashboard: bool = Field(default=True, description="Whether the HTTP API serves the dashboard")
    dashboard_passwords: bool = Field(
        default=True, description="Whether people may log in by a password, beside an identity provider"
    )
    dashboard_idle_minutes: float = Field(
        default=60.0, gt=0, description="A session of the dashboard ends that was not used for so long"
    )
    dashboard_session_hours: float = Field(
        default=12.0, gt=0, description="A session of the dashboard ends after so long, used or not"
    )
    oidc_issuer: str | None = Field(
        default=None,
        description="Identity provider by which people log in to the dashboard, such as "
        "https://id.example.org/realms/school; its configuration is read below it",
    )
    oidc_client_id: str | None = Field(default=None, description="By which it knows the hub")
    oidc_client_secret: SecretStr | None = Field(
        default=None, description="Of that client; if not set, it is a public one"
    )
    oidc_name_claim: str = Field(
        default="preferred_username", description="Claim of the ID token that names people in the hub"
    )
    oidc_groups_claim: str = Field(
        default="groups",
        description="Claim of the ID token with the groups; dots lead into objects: realm_access.roles",
    )
    oidc_role_map: dict[str, OidcGrant] = Field(
        default_factory=dict,
        description='What groups stand for, as JSON object: {"hub-admins": {"role": "admin"}, "school-a": '
        '{"role": "operator", "tenants": ["school-a"]}}; without tenants: the default one',
    )
    oidc_scopes: str = Field(default="openid profile", description="Scopes that are asked for")
    oidc_label: str = Field(
        default="Log in with your organisation", description="On the button of the log-in page"
    )

    moodle_sync_cron_secret: SecretStr | None = Field(
        default=None,
        description="By which a cron may call POST /api/integration/moodle/sync; without it nobody may",
    )

    zoho_webhook_secret: SecretStr | None = Field(
        default=None, description="Signs the webhooks of Zoho; without it they are refused"
    )
    zoho_webhook_secrets: dict[str, SecretStr] = Field(
        default_factory=dict, description="The same of further tenants, by tenant, as JSON object"
    )
    zoho_webhook_unsigned: bool = Field(
        default=False, description="Take webhooks without signature; for closed networks only"
    )
    zoho_timezone: str = Field(default="UTC", description="Time zone in which Zoho's days begin")
    zoho_client_id: str | None = Field(
        default=None, description="OAuth client for the CRM; without it the CRM is not asked"
    )
    zoho_client_secret: SecretStr | None = Field(default=None, description="Secret of the OAuth client")
    zoho_refresh_token: SecretStr | None = Field(
        default=None, description="Refresh token of the OAuth client"
    )
    zoho_accounts_url: str = Field(
        default="https://accounts.zoho.com", description="Zoho's accounts server, which differs by region"
    )
    zoho_api_url: str = Field(
        default="https://www.zohoapis.com", description="Zoho's API server, which differs by region"
    )

    sis_url: str | None = Field(default=None, description="OneRoster service of the SIS")
    sis_token_url: str | None = Field(default=None, description="Where the SIS gives access tokens")
    sis_client_id: str = Field(default="", description="OAuth client id at the SIS")
    sis_client_secret: SecretStr | None = Field(default=None, description="Its secret")
    sis_oneroster_release: Literal["1.1", "1.2"] = Field(default="1.2", description="Release of OneRoster")
    sis_scope: str | None = Field(
        default=None, description="Scope of the token; if not set, that of rostering; empty: none"
    )
    sis_client_auth: Literal["basic", "body"] = Field(
        default="basic", description="Whether client id and secret go in the header or in the body"
    )
    sis_page_size: int = Field(default=1000, ge=1, description="Records asked for in one page")
    sis_overlap_minutes: int = Field(default=10, ge=0, description="A pull of changes reads so much again")
    sis_timezone: str = Field(default="UTC", description="Time zone in which days of the SIS begin")

    cleanup_api_logs_days: int = Field(
        default=30, ge=1, description="Days for which the scheduled cleanup keeps the log of calls"
    )
    cleanup_failed_days: int = Field(
        default=90,
        ge=1,
        description="Days for which it keeps runs, and records that were invalid and came usable since",
    )
    parked_alarm_hours: float = Field(
        default=24.0, gt=0, description="Hours after which what is parked is an alarm"
    )
    parked_alarm_hours_by_kind: dict[Literal["enrolment", "course", "completion"], float] = Field(
        default_factory=dict,
        description="The same of some kinds (enrolment, course, completion), as JSON object",
    )

    alert_email_to: str | None = Field(
        default=None, description="Addresses to which alerts go, separated by commas; needs SMTP_HOST"
    )
    alert_email_from: str = Field(
        default="rosterhub@localhost", description="Sender of these e-mails, as the SMTP server admits it"
    )
    smtp_host: str | None = Field(default=None, description="SMTP server by which e-mails go")
    smtp_port: int = Field(default=587, ge=1, le=65535, description="Its port")
    smtp_tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="How the connection to it is secured"
    )
    smtp_user: str | None = Field(default=None, description="To log in there; without it there is no log-in")
    smtp_password: SecretStr | None = Field(default=None, description="Password of that user")
    alert_webhook_url: SecretStr | None = Field(
        default=None, description="Where alerts are posted as signed JSON; needs ALERT_WEBHOOK_SECRET"
    )
    alert_webhook_secret: SecretStr | None = Field(default=None, description="Signs what is posted there")
    alert_slack_url: SecretStr | None = Field(
        default=None, description="Incoming webhook of Slack, or of what understands the same"
    )
    alert_window_minutes: float = Field(
        default=15.0, ge=1, le=1440, description="Minutes over which rates of failures and times are counted"
    )
    alert_least_traffic: int = Field(
        default=20, ge=1, description="With fewer calls or results in that time rates mean nothing"
    )
    alert_failure_percent: float = Field(
        default=5.0, gt=0, le=100, description="More failed calls or results than this are an alert"
    )
    alert_call_seconds: float = Field(
        default=5.0,
        gt=0,
        description="Longer calls to Moodle (95th percentile) are an alert; counted as the next lower of "
        "0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30 and 60",
    )
    alert_feed_intervals: int = Field(
        default=3,
        ge=1,
        description="So many turns of a pull without a success, or failures in a row, are an alert",
    )
    alert_conflict_hours: float = Field(
        default=24.0, gt=0, description="Hours after which an open conflict is an alert"
    )
    alert_outbox_minutes: float = Field(
        default=5.0, gt=0, description="Minutes after which an event in the outbox is an alert"
    )
    alert_resolve_minutes: float = Field(
        default=5.0, ge=0, description="Minutes for which an incident must not be seen before it is over"
    )
    alert_daily_summary: str = Field(
        default="07:00",
        pattern=r"^(off|([01]\d|2[0-3]):[0-5]\d)$",
        description="Time of the daily summary, or off",
    )
    alert_timezone: str = Field(default="UTC", description="Time zone of the daily summary")

    watchdog_seconds: float = Field(
        default=40.0, gt=10, description="A process without a sign of life for so long is started anew"
    )
    stop_retry_interval: float = Field(
        default=60.0, gt=0, description="Seconds between tries while credentials or rights are wrong"
    )
    status_port: int = Field(
        default=0, ge=0, description="First port of /livez /readyz /metrics; 0: free ports"
    )
    status_host: str = Field(
        default="127.0.0.1",
        description="Address on which these are served, such as 0.0.0.0 for probes; /pause and "
        "/resume are taken from the machine itself only",
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        default=None,
        description="Collector of OpenTelemetry traces (OTLP over HTTP); without it there are none",
    )
    batch_size: int = Field(default=2000, ge=1, description="Most records in one transaction of a stage")

    @field_validator("moodle_timezone", "elm_timezone", "zoho_timezone", "sis_timezone", "alert_timezone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("no such time zone") from None
        return value

    @field_validator("log_level")
    @classmethod
    def _level_exists(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise ValueError("one of DEBUG, INFO, WARNING, ERROR")
        return value.upper()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library passes it by this name
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the TOML file below the environment; leave .env files out."""
        toml = TomlConfigSettingsSource(settings_cls, os.environ.get(CONFIG_FILE, "rosterhub.toml"))
        return (init_settings, env_settings, toml, file_secret_settings)

    def at_site(self, target: str) -> "Settings":
        """Return the settings as they are for the further Moodle site ``target``.

        Raises:
            KeyError: there is no such site.
        """
        own = {f"moodle_{name}": value for name, value in self.moodle_sites[target] if value is not None}
        copy = self.model_copy(update={"moodle_target": target, **own})
        copy._first_target = self.first_target
        return copy

    @property
    def first_target(self) -> str:
        """The hub's own Moodle site: that of tenants for which the mapping names no other. Also `at_site`."""
        return self._first_target or self.moodle_target

    def kafka(self, bootstrap_servers: str) -> KafkaConfig:
        """Return the librdkafka settings by which every client reaches the brokers."""
        config = {
            "bootstrap.servers": bootstrap_servers,
            "security.protocol": self.kafka_security_protocol,
            "sasl.mechanism": self.kafka_sasl_mechanism,
            "sasl.username": self.kafka_sasl_username,
            "sasl.password": self.kafka_sasl_password and self.kafka_sasl_password.get_secret_value(),
            "ssl.ca.location": self.kafka_ssl_ca_location,
        }
        return {name: value for name, value in config.items() if value}


def problems(error: ValidationError) -> list[str]:
    """Return what is wrong with the settings, a line for each, by the name of the environment variable."""
    return [f"{'_'.join(str(part) for part in one['loc']).upper()}: {one['msg']}" for one in error.errors()]


def reference() -> list[tuple[str, str, str]]:
    """Return (environment variable, default, description) of every setting, for the documentation."""
    return [
        (name.upper(), _default(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def _default(value: Any) -> str:
    if value is None or repr(value) == "PydanticUndefined":
        return ""
    if isinstance(value, frozenset):
        return "[]"
    return str(value)
