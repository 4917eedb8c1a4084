"""What results depend on in the package, as digests: rows of other code are never taken for these."""

import ast
import hashlib
import inspect
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

from umanet.methods import METHODS

CODE = ("algorithms", "data", "evaluation", "executor", "fusion", "inference", "metrics", "models", "simulation",
        "training", "methods/__init__.py", "methods/method.py", "methods/fused_target.py",
        "benchmark/check.py", "benchmark/checkers.py", "benchmark/consensus_target.py", "benchmark/grades.py",
        "benchmark/plan.py", "benchmark/row.py", "benchmark/unfinished.py", "benchmark/validation.py", "config.py",
        "consensus.py", "grading.py", "losses.py", "method_options.py", "ranks.py", "types.py")  # fmt: skip
"""What all results depend on, in the package; those of a method also on its own file. Pages and command line may change
between two rows, these may not."""
OF_METHOD = {"uma-net": ("soft_labels.py",)}
"""What the results of a method depend on beside its own file."""
ROOT = Path(__file__).parents[1]


def code_digest() -> str:
    """SHA-256 of the code that all results depend on, without its comments and docstrings."""
    digest = hashlib.sha256()
    for path in code_files():
        digest.update(path.relative_to(ROOT).as_posix().encode())
        digest.update(without_words(path.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()


def method_digest(method: str) -> str:
    """SHA-256 of the files that only this method depends on, without their comments and docstrings."""
    code = "".join(without_words(path.read_text(encoding="utf-8")) for path in method_files(method))
    return hashlib.sha256(code.encode()).hexdigest()


def code_files() -> Iterator[Path]:
    for part in CODE:
        yield from sorted((ROOT / part).rglob("*.py")) if (ROOT / part).is_dir() else [ROOT / part]


def method_files(method: str) -> list[Path]:
    return [Path(inspect.getfile(METHODS[method])), *(ROOT / one for one in OF_METHOD.get(method, ()))]


def without_words(source: str) -> str:
    """The code of a file without comments, docstrings (of attributes, too) and empty lines, which change no result."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines[node.lineno - 1 : node.end_lineno] = [""] * len(lines[node.lineno - 1 : node.end_lineno])
    return "\n".join(stripped for line in lines if (stripped := line.rstrip()))
