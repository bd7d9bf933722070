"""How the services are run: switches, alert burden, recording, replay, rates."""
