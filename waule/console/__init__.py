"""`/console/`: the admin of one tenant, for its own people. Every page reads the tenant from `waule.console.tenant`."""
