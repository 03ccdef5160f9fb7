"""HTTP: one WSGI application a service, the same under every adapter."""
