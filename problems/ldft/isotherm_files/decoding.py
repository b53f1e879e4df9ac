"""Text of a file whose encoding is not known."""

import importlib.util

_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_LEGACY = ["cp1252", "cp1250", "cp1251", "shift_jis", "gb18030"]
"""Encodings that instruments' software writes besides Unicode."""
_WESTERN = set("°²³µ±·½¼–€") | {chr(code) for code in range(0xC0, 0x100)}


def decode(content: bytes) -> tuple[str, str]:
    """Return the text of a file and the name of its encoding.

    A byte-order mark decides, then zeros between the letters (UTF-16), then valid UTF-8. Other
    encodings are recognised by charset-normalizer.

    Raises ValueError if the file is not text, or if charset-normalizer is needed and missing.
    """
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return _strictly(content, encoding), encoding.upper().removesuffix("-SIG")
    half = len(content) // 2
    for encoding, zeros in (("utf-16-le", content[1::2]), ("utf-16-be", content[::2])):
        if half and zeros.count(0) > 0.4 * half:
            return _strictly(content, encoding), encoding.upper()
    if 0 in content:
        raise ValueError("the file is binary, and not an .xlsx workbook")
    try:
        return content.decode(), "UTF-8"
    except UnicodeDecodeError as error:
        return _recognised(content, error)


def _strictly(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is no {encoding.upper()}") from None


def _recognised(content: bytes, error: UnicodeDecodeError) -> tuple[str, str]:
    row = content.count(b"\n", 0, error.start) + 1
    if importlib.util.find_spec("charset_normalizer") is None:
        raise ValueError(
            f"row {row}: the text is neither UTF-8 nor UTF-16; save it as UTF-8, or have its "
            "encoding recognised: pip install physopt[isotherms]"
        )
    from charset_normalizer import from_bytes  # type: ignore[import-not-found]

    matches = from_bytes(content, cp_isolation=_LEGACY)
    encodings = {name for match in matches for name in match.could_be_from_charset}
    best = matches.best()
    if best is None:
        raise ValueError(f"row {row}: the encoding of the text is not recognised; save it as UTF-8")
    # A lone ° or ³ is possible in most encodings, and likely in few.
    western = content.decode("cp1252", errors="replace")
    if "cp1252" in encodings and all(c in _WESTERN for c in western if ord(c) > 127):
        return western, "CP1252 (recognised by charset-normalizer)"
    return str(best), f"{best.encoding.upper()} (recognised by charset-normalizer)"
