"""Object stores: one protocol (`base`), its implementations, and the layers that wrap any of them."""
