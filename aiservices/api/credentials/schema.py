"""What the answers about credentials, switches and health look like, for the OpenAPI document."""

from rest_framework import serializers

from aiservices.api.schema import ModelSwitch
from waule.core.http.fields import AnswerSerializer


class CredentialCooldown(AnswerSerializer):
    model = serializers.CharField()
    outcome = serializers.CharField()
    coolingUntil = serializers.DateTimeField()
    message = serializers.CharField(allow_null=True)


class CredentialAttempt(AnswerSerializer):
    at = serializers.DateTimeField()
    endedAt = serializers.DateTimeField(allow_null=True)
    model = serializers.CharField(allow_null=True)
    outcome = serializers.CharField(allow_null=True)
    message = serializers.CharField(allow_null=True)


class GeminiKeyRow(AnswerSerializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    secret = serializers.CharField(help_text="Its last characters.")
    isActive = serializers.BooleanField()
    state = serializers.ChoiceField(choices=["ready", "cooling", "quota_exhausted", "invalid", "trial"])
    disabledReason = serializers.CharField(allow_null=True)
    coolingUntil = serializers.DateTimeField(allow_null=True)
    acceptedAt = serializers.DateTimeField(allow_null=True)
    priority = serializers.IntegerField()
    weight = serializers.IntegerField()
    maxInFlight = serializers.IntegerField()
    dailyLimit = serializers.IntegerField()
    inFlight = serializers.IntegerField()
    useCount = serializers.IntegerField()
    errorCount = serializers.IntegerField()
    lastUsedAt = serializers.DateTimeField(allow_null=True)
    lastError = serializers.CharField(allow_null=True)
    lastErrorAt = serializers.DateTimeField(allow_null=True)
    createdAt = serializers.DateTimeField()
    version = serializers.CharField()


class SoraTokenRow(GeminiKeyRow):
    email = serializers.CharField()
    remark = serializers.CharField()
    expiresAt = serializers.DateTimeField(allow_null=True)
    clientId = serializers.CharField()
    proxyUrl = serializers.CharField()
    imageEnabled = serializers.BooleanField()
    videoEnabled = serializers.BooleanField()
    imageConcurrency = serializers.IntegerField()
    videoConcurrency = serializers.IntegerField()
    remaining = serializers.IntegerField(allow_null=True, help_text="What the service says is left.")
    inStep = serializers.BooleanField(help_text="Whether the service has what waule has.")
    toPush = serializers.ListField(child=serializers.CharField())
    pushError = serializers.CharField(allow_null=True)
    missingThere = serializers.BooleanField()
    conflict = serializers.DictField(allow_null=True, help_text="By field: what is `here` and what is `there`.")
    remoteId = serializers.IntegerField(allow_null=True)
    probablyQuota = serializers.BooleanField()
    reenableAfterCooldown = serializers.BooleanField()
    plan = serializers.CharField(allow_null=True)
    imageCount = serializers.IntegerField(allow_null=True)
    videoCount = serializers.IntegerField(allow_null=True)


class GeminiKeyChanged(GeminiKeyRow):
    success = serializers.BooleanField()


class SoraTokenChanged(SoraTokenRow):
    success = serializers.BooleanField()


class GeminiKeyListed(GeminiKeyRow):
    modelCooldowns = CredentialCooldown(many=True)


class SoraTokenListed(SoraTokenRow):
    modelCooldowns = CredentialCooldown(many=True)


class GeminiKeyDetail(GeminiKeyListed):
    attempts = CredentialAttempt(many=True)


class SoraTokenDetail(SoraTokenListed):
    attempts = CredentialAttempt(many=True)


class GeminiKeyList(AnswerSerializer):
    keys = GeminiKeyListed(many=True)
    nextCursor = serializers.CharField(allow_null=True)


class SoraTokenList(AnswerSerializer):
    tokens = SoraTokenListed(many=True)
    nextCursor = serializers.CharField(allow_null=True)


class CredentialDeleted(AnswerSerializer):
    success = serializers.BooleanField()
    id = serializers.CharField()


class CredentialTest(AnswerSerializer):
    success = serializers.BooleanField()
    status = serializers.ChoiceField(choices=["success", "failed", "untested"])
    outcome = serializers.CharField()
    message = serializers.CharField()
    latencyMs = serializers.IntegerField(allow_null=True)
    state = serializers.CharField()


class ImportLine(AnswerSerializer):
    line = serializers.IntegerField()
    status = serializers.ChoiceField(choices=["added", "updated", "skipped", "failed"])
    id = serializers.UUIDField(required=False)
    secret = serializers.CharField(required=False, help_text="Its last characters.")
    error = serializers.CharField(required=False)
    note = serializers.CharField(required=False)


class GeminiKeysImported(AnswerSerializer):
    success = serializers.BooleanField()
    added = serializers.IntegerField()
    skipped = serializers.IntegerField()
    failed = serializers.IntegerField()
    results = ImportLine(many=True)


class SoraTokensImported(AnswerSerializer):
    success = serializers.BooleanField()
    added = serializers.IntegerField()
    updated = serializers.IntegerField()
    failed = serializers.IntegerField()
    results = ImportLine(many=True)


class SyncedToken(AnswerSerializer):
    id = serializers.CharField()
    name = serializers.CharField()
    email = serializers.CharField()
    error = serializers.CharField(required=False)
    fields = serializers.DictField(required=False)  # type: ignore[assignment]  # a field, not the property of that name


class SyncLists(AnswerSerializer):
    adopted = SyncedToken(many=True)
    updated = SyncedToken(many=True)
    pushed = SyncedToken(many=True)
    missing = SyncedToken(many=True)
    conflicts = SyncedToken(many=True)
    failed = SyncedToken(many=True)


class SoraSync(AnswerSerializer):
    success = serializers.BooleanField()
    adopted = serializers.IntegerField()
    updated = serializers.IntegerField()
    pushed = serializers.IntegerField()
    missing = serializers.IntegerField()
    conflicts = serializers.IntegerField()
    failed = serializers.IntegerField()
    results = SyncLists()


class CredentialLeased(AnswerSerializer):
    leaseId = serializers.UUIDField()
    credentialId = serializers.UUIDField()
    secret = serializers.CharField()
    expiresAt = serializers.DateTimeField()


class LeaseReported(AnswerSerializer):
    success = serializers.BooleanField()
    leaseId = serializers.CharField()


class ModelSwitched(ModelSwitch):
    success = serializers.BooleanField()
    disabledUntil = serializers.DateTimeField(allow_null=True)


class ServiceHealth(AnswerSerializer):
    name = serializers.CharField()
    status = serializers.ChoiceField(choices=["ok", "degraded", "down", "unknown"])
    latencyMs = serializers.IntegerField(allow_null=True)
    checkedAt = serializers.DateTimeField(allow_null=True)
    message = serializers.CharField()


class ServicesHealth(AnswerSerializer):
    services = ServiceHealth(many=True)
