"""The production HTTP server: granian, so driven that slow clients hold neither threads nor database connections."""
