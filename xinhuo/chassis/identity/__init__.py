"""Who asks, with which rights, and how far these reach."""
