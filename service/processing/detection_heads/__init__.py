"""Detection heads: from a graph's outputs for one image to candidate boxes and scores."""
