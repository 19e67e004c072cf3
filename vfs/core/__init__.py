"""Names and attributes: the file system proper, between the kernel's requests and the stored objects."""
