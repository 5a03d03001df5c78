"""From the bytes of an image file to a row of pixels."""
