"""The protocols, one file each, and the vendors that speak them."""
