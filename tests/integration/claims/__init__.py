"""What two persons do: hours claimed by one and approved by another, reversals asked for and decided."""
