"""What the answers of `/api/auth` look like, for the OpenAPI document."""

from rest_framework import serializers

from waule.core.http.fields import AnswerSerializer


class Tokens(AnswerSerializer):
    access = serializers.CharField()
    refresh = serializers.CharField()
