"""The one thing a server needs of EXIF: which way up the picture is."""

import struct

_ORIENTATION_TAG = 0x0112


def orientation_of(tiff: bytes) -> int:
    """Read the orientation from an EXIF block.

    Args:
        tiff: the block from its byte order (``II`` or ``MM``) on.

    Returns:
        1 (upright) to 8; 1 where the block is broken or does not say: what a viewer would show.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(entries):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
