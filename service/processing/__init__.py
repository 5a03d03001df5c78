"""Pure computation on images, boxes, masks and scores; export may import it."""
