"""The desk for dead letters: who looks at them decides whether they are sent again or dropped."""
