"""What the answers of `/internal/storage` and of a tenant's bucket look like, for the OpenAPI document."""

from rest_framework import serializers

from waule.core.http.fields import AnswerSerializer


class StorageUsage(AnswerSerializer):
    ok = serializers.BooleanField()
    storageUsedBytes = serializers.IntegerField()
    storageQuotaBytes = serializers.IntegerField(allow_null=True)
    overQuota = serializers.BooleanField()


class Bucket(AnswerSerializer):
    region = serializers.CharField()
    bucket = serializers.CharField()
    accessKeyId = serializers.CharField()
    accessKeySecret = serializers.CharField()
    customDomain = serializers.CharField(allow_null=True)
    endpoint = serializers.CharField(allow_null=True)


class TenantBucket(AnswerSerializer):
    ossMode = serializers.ChoiceField(choices=["platform", "custom"])
    ossConfig = Bucket(allow_null=True)


class BucketTest(AnswerSerializer):
    ok = serializers.BooleanField()
    driver = serializers.CharField()
    region = serializers.CharField(allow_null=True)
    bucket = serializers.CharField(allow_null=True)
    endpoint = serializers.CharField(allow_null=True)
    reason = serializers.CharField(allow_null=True)
    message = serializers.CharField()
    elapsedMs = serializers.IntegerField()
    clockSkewSeconds = serializers.IntegerField(allow_null=True)
