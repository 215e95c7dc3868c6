"""The services that waule asks: the AI gateway, the Sora token service, object storage."""
