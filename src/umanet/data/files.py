"""Files that are either whole or not there: written beside their place, flushed to the disk, then moved in."""

import errno
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
    """A folder to write to, which is ``output`` when the block succeeds.

    Whatever is called ``.writing-`` something in it is removed: half files of processes that were killed.

    A new ``output`` appears whole: it is written beside its place. An empty one that exists (a mount point perhaps,
    which cannot be replaced) is written into; write the file that says that all is there last. Whatever ends the block
    early, Ctrl-C included, leaves ``output`` as it was.

    Raises:
        OutputError: ``output`` holds something, or cannot be written to.
    """
    output = output.resolve()
    existed = output.exists()
    new_folder(output)
    place = output
    try:
        if not existed:
            place = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".writing-{output.name}-"))
            place.chmod(output.stat().st_mode)
        yield place
        for half in list(place.rglob(".writing-*")):
            half.unlink(missing_ok=True)
        if not existed:
            output.rmdir()
            place.rename(output)
    except BaseException as error:
        _clear(place)
        if not existed:
            for folder in {place, output}:
                with suppress(OSError):  # not there, or somebody else's by now
                    folder.rmdir()
        if isinstance(error, OSError):
            raise _cannot_write(output, error) from None
        raise


def what_to_do(error: OSError) -> str:
    """The end of a message about a file that the system refuses to read or to write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space or choose another place"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Check the permissions or choose another place"
    return "Choose another place"


def _clear(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} could not be written: {error.strerror or error}. {what_to_do(error)}; nothing half-written was left."
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
