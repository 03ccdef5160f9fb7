"""``xinhuo backup``: copies of the databases, sealed, checked, brought back; PostgreSQL's own programs make them."""
