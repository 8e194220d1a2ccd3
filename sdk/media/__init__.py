"""Pictures and videos in and out, and the matte between them."""
