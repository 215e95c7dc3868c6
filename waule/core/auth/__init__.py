"""Who calls: programs by a secret, platform users by a token or a session, anybody by the address."""
