"""Who may do what to whose: every route, asked by every role, about own and foreign things."""
