"""Colours that can be told apart, by readers who see fewer of them, too."""

Color = tuple[int, int, int]

# The first seven are those of Okabe and Ito ("Color universal design", 2008), which readers with
# any common kind of colour blindness can tell apart. Each of the others is, of the colours light
# enough for a line on a dark photo, the one farthest from all before it: in CIELAB, as seen with
# full colour vision, without red cones and without green cones (Machado et al. 2009).
PALETTE: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (170, 0, 255),
    (221, 0, 34),
    (221, 238, 187),
    (119, 204, 85),
    (102, 119, 255),
    (85, 255, 255),
    (204, 0, 136),
    (170, 255, 0),
    (221, 187, 187),
    (136, 153, 85),
    (221, 51, 17),
    (255, 221, 136),
    (119, 204, 136),
    (204, 68, 85),
    (187, 0, 204),
    (255, 0, 187),
    (102, 153, 255),
)


def color_of(index: int) -> Color:
    """A class's colour: neighbours differ much, and the same class is the same everywhere."""
    return PALETTE[index % len(PALETTE)]


def ink_on(color: Color) -> Color:
    """Black or white, whichever can be read on it."""
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)
