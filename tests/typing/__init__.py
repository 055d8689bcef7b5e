"""Code of users, only type-checked, never run."""
