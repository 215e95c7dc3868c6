"""Upstream credentials: Sora tokens and Gemini keys, the pool that leases them, and the tokens' synchronization with the
Sora service.
"""
