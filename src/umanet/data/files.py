"""Files that are either whole or not there: written beside their place, flushed to the disk, then moved in."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from umanet.errors import OutputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path of the same folder and file type to write to; it becomes ``path`` when the block succeeds.

    Raises:
        OutputError: The disk is full, or the folder cannot be written to.
    """
    suffix = "".join(path.suffixes[-2:])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-", suffix=suffix)
        os.close(handle)
    except OSError as error:
        raise _cannot_write(path, error) from None
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from None
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def replace_file(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, all or nothing.

    Raises:
        OutputError: The disk is full, or the folder cannot be written to.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def new_folder(folder: Path) -> Path:
    """Make sure that ``folder`` is new or empty.

    Raises:
        OutputError: It holds something, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise OutputError(f"Files found in {folder}, a new or empty folder expected. Choose another output.")
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}. Choose another output.") from None
    return folder


@contextmanager
def whole_folder(output: Path) -> Iterator[Path]:
    """A temporary folder beside ``output`` to write to; it becomes ``output`` when the block succeeds.

    Whatever ends the block early, Ctrl-C included, leaves nothing behind.

    Raises:
        OutputError: ``output`` holds something, or cannot be written to.
    """
    output = output.resolve()
    existed = output.exists()
    new_folder(output)
    try:
        place = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".writing-{output.name}-"))
        place.chmod(output.stat().st_mode)
        try:
            yield place
            output.rmdir()
            place.rename(output)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    except BaseException as error:
        if not existed and output.is_dir() and not any(output.iterdir()):
            output.rmdir()
        if isinstance(error, OSError):
            raise _cannot_write(output, error) from None
        raise


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} could not be written: {error.strerror or error}. Free some space or choose another place; "
        "nothing half-written was left."
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
