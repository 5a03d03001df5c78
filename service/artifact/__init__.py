"""What export and the server share: the artifact's manifest."""
