"""How it goes: probes of services, periodic tasks, daily stats."""
