"""The rules of the portal: logins, passwords, sessions, second factors, API clients; pure, without I/O."""
