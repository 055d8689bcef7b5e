"""The batch APIs of vendors: many prompts in one job, at half the price, answered within 24 hours."""

from .cancel import cancel_vendor_batches

__all__ = ["cancel_vendor_batches"]
