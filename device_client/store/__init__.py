"""What a device keeps. All of it is opaque at rest: ciphertext, and small records without an identity."""
