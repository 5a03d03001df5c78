"""What an artifact consists of: golden inputs, parity, preprocessing, destination."""
