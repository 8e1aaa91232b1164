"""JSON and XML of anybody: read to the end or refused in one line, without code, entities or bombs."""

import json
import logging
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from xml.parsers import expat

from unet_exp.errors import DataError
from unet_exp.io.scene import explain_damage

_log = logging.getLogger(__name__)
MOST_BYTES = 2**32
_DEEPEST = 32
_LONGEST = 2**26
"""Letters of an attribute in XML."""


@cache
def warn_once(message: str) -> None:
    """Tells the user something about a file, which may be read many times."""
    _log.warning("%s", message)


class Handler(Protocol):
    """Takes the elements of an XML file as they come."""

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""

    def end(self, tag: str) -> None:
        """An element ends."""


def check_file(path: Path) -> None:
    """Checks that a file can be read.

    Raises:
        DataError: if not.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: there is no such file; check the path")
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    if size > MOST_BYTES:
        raise DataError(
            f"{path}: has {size / 1e9:.1f} GB, and annotations of {MOST_BYTES / 1e9:.1f} GB are read; cut it"
        )


def read_json(path: Path, compact: Callable[[dict[str, Any]], Any]) -> Any:
    """Reads a JSON file.

    Args:
        path: of the file.
        compact: makes something smaller of each object as soon as it is read.

    Raises:
        DataError: for what is no JSON, a key that is there twice, and numbers that are not finite.
    """
    check_file(path)

    def build(pairs: list[tuple[str, Any]]) -> Any:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise DataError(f"{path}: the key {twice[:60]!r} stands twice in one object; export it again")
        return compact(found)

    def refuse(word: str) -> float:
        raise DataError(f"{path}: holds the number {word}, which is not finite; export it again")

    with explain_damage(path):
        try:
            text = path.read_bytes().decode("utf-8-sig")
            return json.loads(text, object_pairs_hook=build, parse_constant=refuse)
        except UnicodeDecodeError:
            raise DataError(f"{path}: is no text in UTF-8; export it again") from None
        except RecursionError:
            raise DataError(f"{path}: its lists lie too deep in each other; export it again") from None
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}"
            raise DataError(
                f"{path}: is no JSON, or cut short ({error.msg}, {where}); copy or export it again"
            ) from None


H = TypeVar("H", bound=Handler)


class XmlReader(Generic[H]):
    """Reads an XML file, element by element.

    Args:
        path: of the file.
        choose: the handler of a file by the tag of its root; raises a DataError for others.
    """

    def __init__(self, path: Path, choose: Callable[[str], H]) -> None:
        self._path, self._choose = path, choose
        self._handler: H | None = None
        self._depth = 0

    def read(self) -> H:
        """Reads all of it, and returns the handler.

        Raises:
            DataError: for what is no XML, declares a document type or entities, or lies too deep.
        """
        check_file(self._path)
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse
        with explain_damage(self._path):
            try:
                with self._path.open("rb") as file:
                    parser.ParseFile(file)
            except expat.ExpatError as error:
                raise DataError(f"{self._path}: is no XML, or cut short ({error}); copy or export it again") from None
            finally:  # a cycle through the handlers
                parser.StartElementHandler = parser.EndElementHandler = None
                parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = None
        assert self._handler is not None  # a document without a root is an error of expat
        return self._handler

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._handler is None:
            self._handler = self._choose(tag)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise DataError(f"{self._path}: its elements lie more than {_DEEPEST} deep; export it again")
        if any(len(value) > _LONGEST for value in attributes.values()):
            raise DataError(f"{self._path}: an attribute of <{tag[:60]}> is too long to be read; export it again")
        self._handler.start(tag, attributes)

    def _end(self, tag: str) -> None:
        assert self._handler is not None
        self._depth -= 1
        self._handler.end(tag)

    def _refuse(self, *_: Any) -> int:
        raise DataError(f"{self._path}: declares a document type or entities, which are not read; export it without")
