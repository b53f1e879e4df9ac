"""Commands of physopt, called as they would be typed."""

from physopt.cli import main


def call(*words: str) -> int:
    """Print and carry out a command; return its exit code. Raises KeyboardInterrupt on Ctrl-C."""
    print(f"\n$ python -m physopt {' '.join(words)}", flush=True)
    code = main(list(words))
    if code == 130:
        raise KeyboardInterrupt
    return code
