"""What every service stands on, without one word of the domain; import its modules by name, nothing is re-exported."""
