"""Text that may quote a file, as part of one sentence for a person."""

MAX_CHARS = 300


def one_line(value: object, max_chars: int = MAX_CHARS) -> str:
    """A value as one line of bounded length that holds no control characters."""
    text = str(value)
    words = " ".join(text[: 2 * max_chars].split())
    words = "".join(char if char.isprintable() else "?" for char in words)
    return words if len(words) <= max_chars else f"{words[: max_chars - 4]} ..."
