"""Text that may quote a file, as part of one sentence for a person."""

MAX_CHARS = 300


def words_of(error: Exception) -> str:
    """An error in words: an OSError of ours carries its sentence in `strerror`, one of the system's names its file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def one_line(value: object, max_chars: int = MAX_CHARS) -> str:
    """A value as one line of bounded length that holds no control characters."""
    text = str(value)
    words = " ".join(text[: 2 * max_chars].split())
    words = "".join(char if char.isprintable() else "?" for char in words)
    return words if len(words) <= max_chars else f"{words[: max_chars - 4]} ..."
