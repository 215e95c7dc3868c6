"""Settings, all from the environment. `.env.example` lists each with a sentence."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

from waule.environment import BASE_DIR, choice, env, flag, number, secret, text, texts
from waule.logs import redact_event

DEBUG = flag("DEBUG")
SECRET_KEY = secret("SECRET_KEY", debug=DEBUG)
JWT_SECRET = secret("JWT_SECRET", debug=DEBUG)
LOOKUP_KEY = text("LOOKUP_KEY", SECRET_KEY)
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
MINIMUM_INTERNAL_SECRET_LENGTH = 32

# --- what waule does ---------------------------------------------------------------------------------------------
PORT = int(number("PORT", 3000, low=1, high=65535))
PUBLIC_URL = text("PUBLIC_URL", f"http://127.0.0.1:{PORT}").rstrip("/")
AI_SERVICE_MODE = choice("AI_SERVICE_MODE", "direct", ("direct", "gateway"))
GATEWAY_BILLING = choice("GATEWAY_BILLING", "callback", ("callback", "local"))
WAULEAPI_URL = text("WAULEAPI_URL", "http://localhost:9000")
INTERNAL_JWT = text("INTERNAL_JWT")
SORA_API_URL = text("SORA_API_URL", "http://localhost:8000")
SORA_API_USERNAME = text("SORA_API_USERNAME")
SORA_API_PASSWORD = text("SORA_API_PASSWORD")
SORA_API_KEY = text("SORA_API_KEY")
GEMINI_API_URL = text("GEMINI_API_URL", "https://generativelanguage.googleapis.com/v1beta")
OPENAI_API_URL = text("OPENAI_API_URL", "https://api.openai.com/v1")
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
BILLING_TIME_ZONE = text("BILLING_TIME_ZONE", "Asia/Shanghai")
OSS_DRIVER = choice("OSS_DRIVER", "local", ("local", "oss", "s3"))
OSS_REGION = text("OSS_REGION")
OSS_BUCKET = text("OSS_BUCKET")
OSS_ENDPOINT = text("OSS_ENDPOINT")
OSS_ACCESS_KEY_ID = text("OSS_ACCESS_KEY_ID")
OSS_ACCESS_KEY_SECRET = text("OSS_ACCESS_KEY_SECRET")
OSS_CUSTOM_DOMAIN = text("OSS_CUSTOM_DOMAIN")
OSS_PUBLIC = flag("OSS_PUBLIC")
OSS_URL_SECONDS = int(number("OSS_URL_SECONDS", 86400, low=60, high=604_800))
OBJECT_STORAGE_TRANSPORT = "gateway_client.objects.send"
ALERT_WEBHOOK_URL = text("ALERT_WEBHOOK_URL")
ALERT_WEBHOOK_SECRET = text("ALERT_WEBHOOK_SECRET")
ALERT_LOW_BALANCE = number("ALERT_LOW_BALANCE", 100, low=0, high=2**53)
ALERT_HOLD_AGE_SECONDS = number("ALERT_HOLD_AGE_SECONDS", 86_400, low=60, high=365 * 86_400)
METRICS_TOKEN = text("METRICS_TOKEN")
SANDBOX_TEST_CREDITS = 1_000_000  # what the test account of a tenant starts with

# --- Django --------------------------------------------------------------------------------------------------------
ROOT_URLCONF = "waule.urls"
WSGI_APPLICATION = "waule.wsgi.application"
AUTH_USER_MODEL = "tenants.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False
INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # its default would put its own site in place of ours
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "unfold.contrib.simple_history",
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
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "simple_history",
    "django_prometheus",
    "tenants",
    "billing",
    "storage",
    "aiservices",
]
MIDDLEWARE = [
    "waule.metrics.RequestMetrics",
    "waule.middleware.RequestContext",
    "django.middleware.security.SecurityMiddleware",
    "waule.middleware.ContentSecurityPolicy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "waule.middleware.ReaderTimeZone",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "axes.middleware.AxesMiddleware",
]
# Calls of machines (`/internal`, `/v1`) need none of the above but the first: see docs/adr/0003-two-handlers.md.
MACHINE_MIDDLEWARE = ["waule.metrics.RequestMetrics", "waule.middleware.RequestContext", "waule.middleware.AcceptedLanguage"]

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

DATABASE_PREPARED_STATEMENTS = flag("DATABASE_PREPARED_STATEMENTS", True)
DATABASES = {"default": env.db_url_config(text("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}"))}
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
    # Prepared statements look rows up by their keys: planning each call anew would take longer than the call.
    planned_once = " -c plan_cache_mode=force_generic_plan" if DATABASE_PREPARED_STATEMENTS else ""
    _database["OPTIONS"].setdefault("options", f"-c synchronous_commit=on -c lock_timeout=10s -c timezone=UTC{planned_once}")
    _database["OPTIONS"].setdefault("application_name", "waule")
else:
    raise ImproperlyConfigured("DATABASE_URL must begin with sqlite:// or postgresql://.")
_database["CONN_MAX_AGE"] = None
_database["CONN_HEALTH_CHECKS"] = False
_database["ATOMIC_REQUESTS"] = False

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
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
AXES_COOLOFF_TIME = number("LOGIN_LOCKOUT_HOURS", 0.25, low=0.01, high=720)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_HTTP_RESPONSE_CODE = 429
AXES_LOCKOUT_CALLABLE = "waule.views.locked_out"
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
CSRF_FAILURE_VIEW = "waule.views.csrf_failure"
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _https
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if flag("TRUST_PROXY_HEADERS"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    AXES_IPWARE_PROXY_COUNT = 1
TRUST_PROXY_HEADERS = flag("TRUST_PROXY_HEADERS")
MAX_BODY_BYTES = 1 << 20
MAX_BODY_WITH_IMAGES_BYTES = 32 << 20
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_WITH_IMAGES_BYTES
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000

# --- languages, time -----------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = text("TIME_ZONE", BILLING_TIME_ZONE)

# --- files ---------------------------------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static-collected"
STATICFILES_DIRS = [BASE_DIR / "waule" / "static"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
MEDIA_ROOT = Path(text("MEDIA_ROOT", str(BASE_DIR / "media")))
if not MEDIA_ROOT.is_absolute():
    MEDIA_ROOT = BASE_DIR / MEDIA_ROOT
MEDIA_URL = "/media/"

# --- REST ----------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["waule.strict_parser.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "waule.schema.Schema",
    "EXCEPTION_HANDLER": "waule.error_handler.handle",
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
}

# --- logs ----------------------------------------------------------------------------------------------------------
LOG_LEVEL = choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
_shared: list[Any] = [
    structlog.contextvars.merge_contextvars,
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
                if text("LOG_FORMAT", "text") == "json"
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

SIMPLE_HISTORY_HISTORY_ID_USE_UUID = False

# --- tests of crashes reach the fail points; nothing else sets this -------------------------------------------------
FAIL_POINT = text("WAULE_TEST_FAIL_POINT")

from waule.admin_theme import UNFOLD  # noqa: E402, F401  (needs the names above to be importable)
