"""Unmistakable invented persons run through every flow, and are then looked for wherever they must not be."""
