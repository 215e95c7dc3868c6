"""Settings, all from the environment. `.env.example` lists each with a sentence."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

from waule.core.auth.internal_callers import parse_callers
from waule.core.environment import (
    BASE_DIR,
    choice,
    database,
    decimal,
    email,
    flag,
    number,
    origins,
    secret,
    text,
    texts,
    time_zone,
    url,
)
from waule.core.logs import add_request_id, redact_event
from waule.core.tracing import add_trace_id

DEBUG = flag("DEBUG")
SECRET_KEY = secret("SECRET_KEY", debug=DEBUG)
JWT_SECRET = secret("JWT_SECRET", debug=DEBUG)
# While a secret rotates the other one, older or newer, is accepted too; it is never used for anything new.
JWT_SECRET_PREVIOUS = secret("JWT_SECRET_PREVIOUS", debug=DEBUG) if text("JWT_SECRET_PREVIOUS") else ""
SECRET_KEY_FALLBACKS = [secret("SECRET_KEY_PREVIOUS", debug=DEBUG)] if text("SECRET_KEY_PREVIOUS") else []
LOOKUP_KEY = text("LOOKUP_KEY", (SECRET_KEY_FALLBACKS or [SECRET_KEY])[0])
ALLOWED_HOSTS = texts("ALLOWED_HOSTS") or (["*"] if DEBUG else [])
if not ALLOWED_HOSTS:
    raise ImproperlyConfigured("ALLOWED_HOSTS is missing: list the host names that waule answers to.")

ENCRYPTION_KEYS = texts("ENCRYPTION_KEYS")
if not ENCRYPTION_KEYS:
    raise ImproperlyConfigured("ENCRYPTION_KEYS is missing: give at least one Fernet key, newest first.")
for key in ENCRYPTION_KEYS:
    try:
        Fernet(key.encode())
    except ValueError:
        raise ImproperlyConfigured(
            "ENCRYPTION_KEYS holds something that is not a Fernet key (32 bytes in URL-safe base64)."
        ) from None

INTERNAL_SECRET = text("INTERNAL_SECRET")
INTERNAL_SECRET_PREVIOUS = text("INTERNAL_SECRET_PREVIOUS")
INTERNAL_CALLERS = parse_callers(texts("INTERNAL_CALLERS"))

# --- what waule does ---------------------------------------------------------------------------------------------
PORT = int(number("PORT", 3000, low=1, high=65535))
PUBLIC_URL = url("PUBLIC_URL", f"http://127.0.0.1:{PORT}")
AI_SERVICE_MODE = choice("AI_SERVICE_MODE", "direct", ("direct", "gateway"))
GATEWAY_BILLING = choice("GATEWAY_BILLING", "auto", ("auto", "callback", "local"))
UNKNOWN_RELEASE_HOURS = number("UNKNOWN_RELEASE_HOURS", 24, low=0, high=24 * 365)
WAULEAPI_URL = url("WAULEAPI_URL", "http://localhost:9000")
INTERNAL_JWT = text("INTERNAL_JWT")
SORA_API_URL = url("SORA_API_URL", "http://localhost:8000")
SORA_API_USERNAME = text("SORA_API_USERNAME")
SORA_API_PASSWORD = text("SORA_API_PASSWORD")
SORA_API_KEY = text("SORA_API_KEY")
GEMINI_API_URL = url("GEMINI_API_URL", "https://generativelanguage.googleapis.com/v1beta")
OPENAI_API_URL = url("OPENAI_API_URL", "https://api.openai.com/v1")
OPENAI_API_KEY = text("OPENAI_API_KEY")
OUTBOUND_ALLOW = texts("OUTBOUND_ALLOW")
UPSTREAM_CONNECT_SECONDS = number("UPSTREAM_CONNECT_SECONDS", 5, low=0.1, high=60)
UPSTREAM_READ_SECONDS = number("UPSTREAM_READ_SECONDS", 300, low=0.1, high=3600)
UPSTREAM_TOTAL_SECONDS = number("UPSTREAM_TOTAL_SECONDS", 300, low=0.1, high=3600)
VIDEO_JOB_SECONDS = number("VIDEO_JOB_SECONDS", 3600, low=1, high=86400)
JOB_LEASE_SECONDS = number("JOB_LEASE_SECONDS", 60, low=1, high=3600)
HEALTH_PROBE_SECONDS = number("HEALTH_PROBE_SECONDS", 300, low=1, high=86400)
TASK_ENGINE = choice("TASK_ENGINE", "embedded", ("embedded", "celery"))
CELERY_BROKER_URL = text("CELERY_BROKER_URL")
CELERY_QUEUE = text("CELERY_QUEUE", "waule-jobs")
if TASK_ENGINE == "celery" and not CELERY_BROKER_URL:
    raise ImproperlyConfigured("CELERY_BROKER_URL is missing: TASK_ENGINE=celery needs a broker.")
SANDBOX_DELAY_SECONDS = number("SANDBOX_DELAY_SECONDS", 0, low=0, high=3600)
SANDBOX_FAILURE_RATE = number("SANDBOX_FAILURE_RATE", 0, low=0, high=1)
BILLING_DEFAULT_PRICES = flag("BILLING_DEFAULT_PRICES")
BILLING_TIME_ZONE = time_zone("BILLING_TIME_ZONE", "Asia/Shanghai")
OSS_DRIVER = choice("OSS_DRIVER", "local", ("local", "oss", "s3"))
OSS_REGION = text("OSS_REGION")
OSS_BUCKET = text("OSS_BUCKET")
OSS_ENDPOINT = text("OSS_ENDPOINT")
OSS_ACCESS_KEY_ID = text("OSS_ACCESS_KEY_ID")
OSS_ACCESS_KEY_SECRET = text("OSS_ACCESS_KEY_SECRET")
OSS_CUSTOM_DOMAIN = text("OSS_CUSTOM_DOMAIN")
OSS_PUBLIC = flag("OSS_PUBLIC")
OSS_URL_SECONDS = int(number("OSS_URL_SECONDS", 86400, low=60, high=604_800))
OBJECT_STORAGE_TRANSPORT = "gateway_client.upstreams.object_storage.send"
APPROVAL_ABOVE_CREDITS = int(number("APPROVAL_ABOVE_CREDITS", 0, low=0, high=2**53))
ALERT_WEBHOOK_URL = url("ALERT_WEBHOOK_URL")
ALERT_WEBHOOK_SECRET = text("ALERT_WEBHOOK_SECRET")
ALERT_LOW_BALANCE = number("ALERT_LOW_BALANCE", 100, low=0, high=2**53)
ALERT_HOLD_AGE_SECONDS = number("ALERT_HOLD_AGE_SECONDS", 86_400, low=60, high=365 * 86_400)
_mail = email("EMAIL_URL")
SENDS_MAIL = bool(_mail)
EMAIL_HOST, EMAIL_PORT = _mail.get("EMAIL_HOST", ""), _mail.get("EMAIL_PORT", 25)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail.get("EMAIL_HOST_USER") or "", _mail.get("EMAIL_HOST_PASSWORD") or ""
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.get("EMAIL_USE_TLS", False), _mail.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = text("EMAIL_FROM", f"waule@{urlsplit(PUBLIC_URL).hostname}")
METRICS_TOKEN = text("METRICS_TOKEN")
WORKER_METRICS_PORT = int(number("WORKER_METRICS_PORT", 0, low=0, high=65535))
WORKER_METRICS_HOST = text("WORKER_METRICS_HOST", "127.0.0.1")
OTEL_EXPORTER_OTLP_ENDPOINT = url("OTEL_EXPORTER_OTLP_ENDPOINT")
if OTEL_EXPORTER_OTLP_ENDPOINT and find_spec("opentelemetry") is None:
    raise ImproperlyConfigured("OTEL_EXPORTER_OTLP_ENDPOINT needs the packages of requirements-tracing.txt.")
_headers = [entry.partition("=") for entry in texts("OTEL_EXPORTER_OTLP_HEADERS")]
if not all(name and is_given for name, is_given, _value in _headers):
    raise ImproperlyConfigured("OTEL_EXPORTER_OTLP_HEADERS must be a list of name=value.")
OTEL_EXPORTER_OTLP_HEADERS = {name.strip().lower(): unquote(value.strip()) for name, _is_given, value in _headers}
OTEL_SERVICE_NAME = text("OTEL_SERVICE_NAME", "waule")
OTEL_TRACES_SAMPLER_ARG = number("OTEL_TRACES_SAMPLER_ARG", 1, low=0, high=1)
CREDIT_USD = decimal("CREDIT_USD", "0.01")
MAX_RETENTION_DAYS = 36_500
RETENTION_MEDIA_DAYS = number("RETENTION_MEDIA_DAYS", 0, low=0, high=MAX_RETENTION_DAYS)
RETENTION_PROMPT_DAYS = number("RETENTION_PROMPT_DAYS", 0, low=0, high=MAX_RETENTION_DAYS)
RETENTION_MESSAGE_DAYS = number("RETENTION_MESSAGE_DAYS", 90, low=0, high=MAX_RETENTION_DAYS)
RETENTION_AUDIT_DAYS = number("RETENTION_AUDIT_DAYS", 0, low=0, high=MAX_RETENTION_DAYS)
RETENTION_PROBE_DAYS = number("RETENTION_PROBE_DAYS", 90, low=0, high=MAX_RETENTION_DAYS)
LEDGER_SIGNING_KEYS = texts("LEDGER_SIGNING_KEYS")
LEDGER_ARCHIVE_DIR = text("LEDGER_ARCHIVE_DIR")
LEDGER_ARCHIVE_BUCKET = "storage.platform_files"  # by this name billing reaches a room beside it
SANDBOX_TEST_CREDITS = 1_000_000  # what the test account of a tenant starts with

# --- Django --------------------------------------------------------------------------------------------------------
DEFAULT_EXCEPTION_REPORTER = "waule.core.http.exception_reports.Report"
DEFAULT_EXCEPTION_REPORTER_FILTER = "waule.core.http.exception_reports.ReportFilter"
ROOT_URLCONF = "waule.urls"
WSGI_APPLICATION = "waule.wsgi.application"
AUTH_USER_MODEL = "tenants.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False
INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # its default would put its own site in place of ours
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "waule.apps.WauleConfig",
    "waule.apps.WauleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "corsheaders",
    "axes",
    "django_otp",
    "tenants",
    "billing",
    "storage",
    "aiservices",
]
MIDDLEWARE = [
    "waule.site.metrics.RequestMetrics",
    "waule.core.http.middleware.RequestContext",
    "corsheaders.middleware.CorsMiddleware",
    "waule.core.http.https.HttpsOnly",
    "django.middleware.security.SecurityMiddleware",
    "waule.core.http.middleware.ContentSecurityPolicy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "waule.core.http.middleware.ReaderTimeZone",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "waule.site.views.LimitedLogins",
]
# Calls of machines (`/internal`, `/v1`) need none of the above but the first: see docs/adr/0003-two-handlers.md.
MACHINE_MIDDLEWARE = [
    "waule.site.metrics.RequestMetrics",
    "waule.core.http.middleware.RequestContext",
    "corsheaders.middleware.CorsMiddleware",
    "waule.core.http.https.HttpsOnly",
    "waule.core.http.middleware.AcceptedLanguage",
]
if OTEL_EXPORTER_OTLP_ENDPOINT:
    MIDDLEWARE.insert(0, "waule.core.tracing.TraceRequests")
    MACHINE_MIDDLEWARE.insert(0, "waule.core.tracing.TraceRequests")

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASE_CONNECTIONS = int(number("DATABASE_CONNECTIONS", 8, low=2, high=500))
DATABASE_POOLER = choice("DATABASE_POOLER", "", ("", "transaction"))
# Behind a pooler the next statement may reach a server connection that knows of none that was prepared.
DATABASE_PREPARED_STATEMENTS = flag("DATABASE_PREPARED_STATEMENTS", True) and not DATABASE_POOLER
DATABASES = {"default": database("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
_database = DATABASES["default"]
_database.setdefault("OPTIONS", {})
if _database["ENGINE"] == "django.db.backends.sqlite3":
    _database["OPTIONS"] |= {
        # Writers queue for the lock when a transaction begins instead of failing when it first writes.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA recursive_triggers=ON;"
        ),
    }
elif _database["ENGINE"] == "django.db.backends.postgresql":
    _database["OPTIONS"].setdefault("connect_timeout", 5)
    _database["OPTIONS"].setdefault("application_name", "waule")
    if DATABASE_POOLER:
        _database["DISABLE_SERVER_SIDE_CURSORS"] = True  # the rest is in waule.core.db.pooler
    else:
        # Prepared statements look rows up by their keys: planning each call anew would take longer than the call.
        planned_once = " -c plan_cache_mode=force_generic_plan" if DATABASE_PREPARED_STATEMENTS else ""
        _database["OPTIONS"].setdefault("options", f"-c synchronous_commit=on -c lock_timeout=10s -c timezone=UTC{planned_once}")
else:
    raise ImproperlyConfigured("DATABASE_URL must begin with sqlite:// or postgresql://.")
_database["CONN_MAX_AGE"] = None
_database["CONN_HEALTH_CHECKS"] = False
_database["ATOMIC_REQUESTS"] = False

AUTHENTICATION_BACKENDS = [
    "tenants.login.limits.LimitedByAddress",
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")
ADMIN_REQUIRE_SECOND_FACTOR = flag("ADMIN_REQUIRE_SECOND_FACTOR")
OTP_TOTP_ISSUER = "waule"
AXES_FAILURE_LIMIT = int(number("LOGIN_FAILURE_LIMIT", 5, low=1, high=100))
LOGIN_ADDRESS_FAILURE_LIMIT = int(number("LOGIN_ADDRESS_FAILURE_LIMIT", 100, low=1, high=100_000))
AXES_COOLOFF_TIME = number("LOGIN_LOCKOUT_HOURS", 0.25, low=0.01, high=720)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_HTTP_RESPONSE_CODE = 429
AXES_CLIENT_IP_CALLABLE = "tenants.login.limits.axes_address"
AXES_LOCKOUT_CALLABLE = "waule.site.views.locked_out"
AXES_ENABLE_ADMIN = False  # its pages look unlike ours; `axes_reset_username` lets someone in again
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False

# --- sessions, cookies, headers ------------------------------------------------------------------------------------
SECURE_SSL_REDIRECT = flag("SECURE_SSL_REDIRECT")
_https = SECURE_SSL_REDIRECT or PUBLIC_URL.startswith("https://")
SESSION_COOKIE_AGE = int(number("SESSION_IDLE_SECONDS", 8 * 3600, low=60, high=30 * 86400))
SESSION_SAVE_EVERY_REQUEST = True  # idle time, not age, ends a session
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = ["{0.scheme}://{0.netloc}".format(urlsplit(PUBLIC_URL))]
CSRF_FAILURE_VIEW = "waule.site.views.csrf_failure"
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]  # Django's own redirect comes after HttpsOnly and agrees with it
SILENCED_SYSTEM_CHECKS = [
    "security.W004",  # Django's own HSTS is not used: waule.core.http.https sends the header
    "models.W040",  # SQLite leaves columns out that an index carries besides: nobody has to do anything about it
]
HSTS_SECONDS = int(number("HSTS_SECONDS", 0, low=0, high=63_072_000))
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
TRUST_PROXY_HEADERS = flag("TRUST_PROXY_HEADERS")
# Programs in browsers call with keys or tokens, never with cookies.
CORS_ALLOWED_ORIGINS = origins("CORS_ALLOWED_ORIGINS")
CORS_URLS_REGEX = r"^/(v1|api|dashboard/billing)(/|$)"
CORS_ALLOW_CREDENTIALS = False
CORS_ALLOW_HEADERS = [
    *("accept", "accept-language", "authorization", "content-type", "idempotency-key", "x-request-id", "user-agent"),
    *(
        f"x-stainless-{name}"
        for name in (
            *("lang", "package-version", "os", "arch", "runtime", "runtime-version", "retry-count", "timeout", "read-timeout"),
            *("async", "helper-method", "poll-helper", "custom-poll-interval", "raw-response"),
        )
    ),
    *("openai-organization", "openai-project", "openai-beta"),
]
CORS_EXPOSE_HEADERS = ["idempotent-replayed", "retry-after", "x-request-id", "x-should-retry"]
TRUSTED_PROXY_COUNT = int(number("TRUSTED_PROXY_COUNT", 1, low=1, high=10))
if TRUST_PROXY_HEADERS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
MAX_BODY_BYTES = 1 << 20
MAX_BODY_WITH_IMAGES_BYTES = 32 << 20
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_WITH_IMAGES_BYTES
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000

# --- languages, time -----------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
FORMAT_MODULE_PATH = "waule.core.formats"
USE_TZ = True
TIME_ZONE = time_zone("TIME_ZONE", BILLING_TIME_ZONE)

# --- files ---------------------------------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = Path(text("STATIC_ROOT", str(BASE_DIR / "static-collected")))
STATICFILES_DIRS = [BASE_DIR / "waule" / "static"]
# Collected (`manage.py collectstatic`; the image does it) they are compressed, named by their hash and kept by browsers for
# good; else they are found where the apps keep them.
_is_collected = (STATIC_ROOT / "staticfiles.json").exists()
if _is_collected or sys.argv[1:2] == ["collectstatic"]:
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
WHITENOISE_USE_FINDERS = not _is_collected
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
WHITENOISE_AUTOREFRESH = False
MEDIA_ROOT = Path(text("MEDIA_ROOT", str(BASE_DIR / "media")))
if not MEDIA_ROOT.is_absolute():
    MEDIA_ROOT = BASE_DIR / MEDIA_ROOT
MEDIA_URL = "/media/"

# --- REST ----------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["waule.core.http.strict_parser.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "waule.site.openapi.schema.Schema",
    "EXCEPTION_HANDLER": "waule.core.http.error_handler.handle",
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_METADATA_CLASS": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "waule",
    "DESCRIPTION": "Control plane for AI image and video platforms: who may generate, what it costs, and with which keys.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SCHEMA_PATH_PREFIX": r"/",
    "COMPONENT_SPLIT_REQUEST": True,
    "PREPROCESSING_HOOKS": ["waule.site.openapi.schema.without_doubles"],
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "waule.site.openapi.examples.with_examples"],
    "GET_LIB_DOC_EXCLUDES": "waule.site.openapi.schema.without_descriptions",
    "ENUM_NAME_OVERRIDES": {
        "AccountModeEnum": ["live", "test"],
        "ChargeStateEnum": ["charged", "refunded", "partially_refunded"],
        "CredentialStateEnum": ["ready", "cooling", "quota_exhausted", "invalid", "trial"],
        "DeliveryStateEnum": ["pending", "delivered", "failed"],
        "EntryTypeEnum": ["RECHARGE", "GIFT", "ADMIN", "REDEEM", "CONSUME", "REFUND", "EXPIRE"],
        "HoldStateEnum": ["held", "captured", "released", "expired"],
        "GenerationTypeEnum": ["image", "video"],
        "GenerationStatusEnum": ["queued", "running", "succeeded", "failed", "canceled", "unknown"],
        "VideoStatusEnum": ["queued", "in_progress", "completed", "failed"],
    },
}

# --- logs ----------------------------------------------------------------------------------------------------------
LOG_LEVEL = choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
_shared: list[Any] = [
    structlog.contextvars.merge_contextvars,
    add_request_id,
    *([add_trace_id] if OTEL_EXPORTER_OTLP_ENDPOINT else []),
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    redact_event,
]
structlog.configure(
    processors=[structlog.stdlib.filter_by_level, *_shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "lines": {
            "()": "structlog.stdlib.ProcessorFormatter",
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
                if choice("LOG_FORMAT", "text", ("text", "json")) == "json"
                else structlog.dev.ConsoleRenderer(colors=False),
            ],
            "foreign_pre_chain": _shared,
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "django.server": {"level": "WARNING"},
        "axes": {"level": "WARNING"},
        "urllib3": {"level": "ERROR"},
        "botocore": {"level": "WARNING"},
    },
}

# --- tests of crashes reach the fail points; nothing else sets this -------------------------------------------------
FAIL_POINT = text("WAULE_TEST_FAIL_POINT")

from waule.console.theme import console_theme  # noqa: E402
from waule.site.theme import UNFOLD  # noqa: E402  (needs the names above to be importable)

UNFOLD_CONSOLE = console_theme(UNFOLD)
