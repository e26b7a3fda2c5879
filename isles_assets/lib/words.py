"""Numbers with their nouns, in sentences for people."""


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return `number` with its noun: `1 file`, `2 files`, `1,234 files`. An empty `plural` is the singular with -s."""
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"
