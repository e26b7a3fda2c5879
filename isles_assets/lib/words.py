"""Numbers and names in sentences for people."""


def counted(number: int, what: str, plural: str = "") -> str:
    """`number` with its noun: `1 file`, `2 files`, `1,234 files`; with another `plural` than one in -s if given."""
    return f"{number:,} {what if number == 1 else plural or f'{what}s'}"
