"""The catalog in the admin: models, prices and levels, the simulator, a draft tried on past charges."""
