"""The bytes of files: what is dirty in RAM, what is stored, and how one becomes the other."""
