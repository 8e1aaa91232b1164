"""Where a search keeps its trials: what can be typed, and what is said where it cannot be used."""

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Said

from unet_exp.cli.command import read_command
from unet_exp.errors import ConfigError, UserError
from unet_exp.runs.study_storage import StudyAddress, explain_errors, resolve_storage
from unet_exp.sweeps.plan import SweepPlan

Cli = Callable[..., Said]
WORDS = (*TINY, "search=optuna", "search.trials=1", "output=out")


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("mysql://me@host/db", "there is no mysql:// here; write a file's path, sqlite:///<path>, or postgresql://"),
        ("postgres://me@host/db", "there is no postgres:// here"),
        ("postgresql+psycopg2://me@host/db", "there is no postgresql+psycopg2:// here"),
        ("postgresql:/me@host/db", "it is neither a path nor a URL"),
        ("postgresql://me@host", "it names no database"),
        ("postgresql://me@host:many/db", "it cannot be read"),
        ("sqlite://db", "it names no database"),
        ("sqlite:///:memory:", "it names no database"),
        ("''", "it is neither a path nor a URL"),
    ],
)
def test_what_is_no_address_is_told(storage: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        read_command([*WORDS, f"search.storage={storage}"])
    assert "search.storage=" in str(caught.value)


@pytest.mark.parametrize("user", ["me:Secret7@", "me:Secret7/x@", "me:Sec@Secret7@", "me:Sec?Secret7@", ":Secret7@"])
@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg", "mysql"])
def test_a_password_is_refused_and_not_repeated(scheme: str, user: str, cli: Cli, tmp_path: Path) -> None:
    said = cli("train", *WORDS, f"search.storage={scheme}://{user}host/db")
    assert "leave the password out, or it would stand in files; give it in the variable PGPASSWORD" in said.mistake
    assert "Secret7" not in said.out + said.err
    assert not list(tmp_path.iterdir())


def test_a_password_in_a_query_is_refused(cli: Cli) -> None:
    said = cli("train", *WORDS, "search.storage='postgresql://host/db?user=me&password=Secret7'")
    assert "leave the password out" in said.mistake
    assert "Secret7" not in said.out + said.err


def test_no_message_repeats_a_password() -> None:
    told = str(UserError("postgresql://me:Se/c@ret@host/db and postgresql://h/db?password=Secret&x=1 failed"))
    assert told == "postgresql://me:***@host/db and postgresql://h/db?password=***&x=1 failed"


def test_a_study_needs_a_storage() -> None:
    with pytest.raises(ConfigError, match=r"it names a study in search\.storage; give that too"):
        read_command([*WORDS, "search.study=mine"])


def test_its_name_is_that_of_the_sweep_and_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for typed, meant in (("a=b.journal", f"{tmp_path}/a=b.journal"), ("sqlite:///s.db", f"sqlite:///{tmp_path}/s.db")):
        plan = read_command([*WORDS, f"search.storage='{typed}'"])
        assert isinstance(plan, SweepPlan)
        assert plan.search is not None
        assert (plan.search.storage, plan.search.study) == (meant, plan.name)
    assert resolve_storage("postgresql://me@host/db") == "postgresql://me@host/db"


def test_a_driver_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "psycopg" else object())
    with pytest.raises(ConfigError, match=re.escape("it needs the extra: pip install -e '.[postgres]'")):
        read_command([*WORDS, "search.storage=postgresql://me@host/db"])


class TestUnusable:
    """All of it is found before there is a folder of the sweep."""

    def _said(self, cli: Cli, tmp_path: Path, storage: Any) -> str:
        said = cli("train", *WORDS, f"search.storage={storage}")
        assert said.code == 2
        assert not (tmp_path / "out").exists()
        return said.mistake

    def test_a_file_that_is_no_journal_stays_as_it_is(self, cli: Cli, tmp_path: Path) -> None:
        for content in (b"my notes", b"my notes\nmore\n", b"{}\n", b"\x00" * 100, b'{"op_code": "x"}\n'):
            (tmp_path / "notes").write_bytes(content)
            assert "notes: it is no journal of a search, or damaged" in self._said(cli, tmp_path, "notes")
            assert (tmp_path / "notes").read_bytes() == content

    def test_a_file_that_is_no_database(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "notes").write_text("my notes, which are longer than the header of a database" * 20)
        said = self._said(cli, tmp_path, "sqlite:///notes")
        assert "file is not a database; name a database of a search, or a new file" in said

    @pytest.mark.parametrize("prefix", ["", "sqlite:///"])
    def test_a_folder_that_is_not_there(self, prefix: str, cli: Cli, tmp_path: Path) -> None:
        said = self._said(cli, tmp_path, f"{prefix}nowhere/x")
        assert "nowhere/x: " in said
        assert "folder" in said

    def test_a_server_that_is_not_there(self) -> None:
        pytest.importorskip("psycopg")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"postgresql://me@127.0.0.1:{free.getsockname()[1]}/db"
        said = r"refused.*is the server there, and can it be reached"
        with pytest.raises(ConfigError, match=said) as caught, explain_errors(url):
            StudyAddress(url, "x").open()
        assert "\n" not in str(caught.value)
