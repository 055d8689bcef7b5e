"""The protocols, one file each, and the catalog of vendors that speak them."""
