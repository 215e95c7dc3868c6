"""Messages to tenants' webhooks: written with what they report, delivered by workers."""
