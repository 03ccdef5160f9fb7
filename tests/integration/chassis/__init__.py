"""What every service stands on, with real servers: outbox, inbox, ladder, relay, jobs, HTTP, keys, adapters."""
