"""What the volunteers service can be asked: functions that return plain data."""
