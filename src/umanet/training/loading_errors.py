"""What went wrong in a process that loads data, as if it had happened here."""

from pathlib import Path

from umanet.errors import RunError, UmanetError

KILLED = "DataLoader worker"
TRACEBACK = "Original Traceback"


def as_said_there(error: UmanetError) -> UmanetError:
    """Torch hands an error on with the whole traceback as its text; the error's own is the last of it."""
    text = str(error)
    if TRACEBACK not in text:
        return error
    name = f".{type(error).__name__}: "
    return type(error)(text[text.rindex(name) + len(name) :].strip())


def raise_if_killed(error: RuntimeError, step: int, checkpoint: Path) -> None:
    """Raises: RunError: A process that loads data was killed; most often as memory ran out."""
    if KILLED in str(error):
        kept = f"{checkpoint} is kept. Go on" if checkpoint.exists() else "Nothing was kept. Start again"
        raise RunError(
            f"A process that loads data was killed (step {step + 1}), most often because memory ran out. {kept} with "
            "fewer --data.workers."
        ) from error
