"""The reference of all keys: it is what its generator writes, it leaves out no key, and what it says holds."""

import re
import shlex
import shutil
from functools import cache
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError
from reference import comments, page, rows
from reference.allowed import find_schema
from reference.commands import COMMANDS, list_keys
from reference.markdown import make_table, write_code, write_text
from reference.rows import LAUNCHER, TOP, Row
from reference.words import ABOUT_GROUPS

from unet_exp.compose import compose_command
from unet_exp.config_files import RECIPES
from unet_exp.files import conf_dir

GROUPS = [group for group in ABOUT_GROUPS if group not in RECIPES]
NOT_TYPED = {"sweep.run", "sweep.worker"}
"""Keys that a sweep sets for its own jobs."""
OPEN = r"text|path|folder|letters|label|URL|time|such|class|name|list|\{|\["
"""Where one of these stands, more is allowed than a test can list."""


def test_the_page_is_what_the_generator_writes(tmp_path):
    page.write(tmp_path / "page.md")
    assert page.PAGE.read_bytes() == (tmp_path / "page.md").read_bytes(), "type python scripts/make_reference.py"


@cache
def table(group: str) -> list[Row]:
    return rows.list_rows(group)


@cache
def words(group: str) -> list[str]:
    return [option.word for option in rows.list_options(group)] if rows.has_options(group) else [TOP]


@cache
def compose(number: int) -> dict[str, Any]:
    """All values with the option of this number in every group: few compositions have each option."""
    chosen = [f"{group}={words(group)[number % len(words(group))]}" for group in GROUPS if rows.has_options(group)]
    composed = compose_command(chosen)
    launcher = {key: value for key, value in composed.launcher.items() if key != "_target_"}
    return {**composed.training, "sweep": composed.sweep, "search": composed.search, LAUNCHER: launcher}


def values(group: str, word: str) -> dict[str, Any]:
    composed = compose(words(group).index(word))
    return composed if group == TOP else composed[group]


def whole(group: str, name: str) -> str:
    return f"{group.replace('/', '.')}.{name}" if group else name


@pytest.mark.parametrize("group", GROUPS)
def test_each_key_of_each_option_is_there_with_its_value(group):
    for word in words(group):
        told = {row.key: row.defaults[word] for row in table(group) if word in row.defaults}
        composed = {whole(group, name): value for name, value in values(group, word).items()}
        if group == TOP:
            composed = {key: value for key, value in composed.items() if key not in ABOUT_GROUPS}
            assert composed.pop("name") == "synthetic_valid_concat"
            assert told.pop("name") == "${data.name}_${model.name}_${fusion.name}"
        elif word:
            composed.pop(whole(group, "name"), None)
        assert told == composed


@pytest.mark.parametrize("group", RECIPES)
def test_each_key_that_a_recipe_sets_is_there(group):
    known = {row.key for other in GROUPS for row in table(other)} | {*ABOUT_GROUPS, "hydra.mode"}
    for word in words(group):
        for key, _ in comments.list_settings(group, word):
            assert key.removeprefix("hydra.sweeper.params.") in known


@pytest.mark.parametrize("group", GROUPS)
def test_each_key_of_the_schema_is_there(group):
    for word in words(group):
        told = {row.key for row in table(group) if word in row.defaults}
        schema = {whole(group, name) for name in find_schema(rows.find_annotation(group), word).model_fields}
        assert told == schema - {*ABOUT_GROUPS, whole(group, "name") if word else ""} - NOT_TYPED


def test_each_row_is_printed():
    text = page.PAGE.read_text(encoding="utf-8")
    for row in [row for group in GROUPS for row in table(group)]:
        assert re.search(rf"^\| `{re.escape(row.key)}` \| \S.* \| \S.* \| {re.escape(row.allowed)} \|$", text, re.M)
    for group in ABOUT_GROUPS:
        assert all(f"\n| `{word}`" in text for word in words(group) if word)


@pytest.mark.parametrize("group", GROUPS)
def test_what_is_allowed_is_taken_and_nothing_else(group):
    for row in table(group):
        word = next(iter(row.defaults))
        schema = find_schema(rows.find_annotation(group), word)
        assert_true(
            row, schema, {name: one for name, one in values(group, word).items() if name in schema.model_fields}
        )


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_allows_is_taken_and_nothing_else(name):
    command = COMMANDS[name]
    assert [row.key for row in list_keys(name)] == [*command.defaults]
    if name not in ("check_data", "preview"):  # these have the keys of a training
        assert {*command.defaults, "trust"} >= command.schema.model_fields.keys()
    for row in list_keys(name):
        if row.key in command.schema.model_fields:
            assert_true(row, command.schema, dict(command.defaults))


def assert_true(row: Row, schema: type[BaseModel], given: dict[str, Any]) -> None:
    """Tries what the row allows, its default, and what is just beyond."""
    name = row.key.rpartition(".")[2]
    good: list[Any] = [] if row.required else [given[name]]
    bad: list[Any] = [object()]
    for alternative in row.allowed.split(" · "):
        if numbers := re.fullmatch("(integer|number)(?:, (.*))?", alternative):
            inside, outside = read_limits(numbers[1], numbers[2] or "")
            good, bad = [*good, *inside], [*bad, *outside]
        elif of_numbers := re.fullmatch("list of (.*), each: (integer|number)(?:, (.*))?", alternative):
            inside, outside = read_limits(of_numbers[2], of_numbers[3] or "")
            length, within = int(of_numbers[1].split()[0]), (inside or [1.0])[0] + 0.5
            good.append([within] * length)
            bad += [[within] * (length - 1), *([beyond] * length for beyond in outside)]
            bad += [[within] * (length + 1)] * ("more" not in of_numbers[1])
        elif re.fullmatch("`[^`{[]+`", alternative):
            good.append(yaml.safe_load(alternative.strip("`")))
        elif alternative in ("text", "path", "folder"):
            good.append("a/b")
    if not re.search(OPEN, row.allowed):
        bad += ["no such word", ["no such item"]]
    for value in good:
        assert not is_refused(schema, given, name, value), f"{row.key}={value!r}: {row.allowed}"
    for value in bad:
        assert is_refused(schema, given, name, value), f"{row.key}={value!r}: {row.allowed}"
    if row.required:
        assert given[name] == ""


def read_limits(kind: str, limits: str) -> tuple[list[float], list[float]]:
    """Numbers at the limits that are allowed, and some just beyond them."""
    number, step = (int, 1) if kind == "integer" else (float, 1e-6)
    inside, outside = [], []
    spelt = re.sub(r"(\S+) to (\S+)", r"at least \1 and at most \2", limits)
    for sign, limit in re.findall(r"(at least|above|at most|below) ([\d.]+)", spelt):
        edge, inwards = number(limit), step if sign in ("at least", "above") else -step
        inside.append(edge if sign in ("at least", "at most") else edge + inwards)
        outside.append(edge - inwards if sign in ("at least", "at most") else edge)
    assert outside or not limits, limits
    return inside, outside


def is_refused(schema: type[BaseModel], given: dict[str, Any], name: str, value: Any) -> bool:
    """Whether a value is refused for itself, whatever the other keys are."""
    try:
        schema.model_validate({**given, name: value})
    except ValidationError as error:
        return any(found["loc"][:1] == (name,) for found in error.errors())
    return False


def test_the_words_of_the_introduction_are_taken():
    block = re.search(r"```bash\n(.*?)```", page.PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    typed = [shlex.split(line, comments=True)[2:] for line in block[1].splitlines()]
    single = [words for words in typed if not any(word.startswith("-") for word in words)]
    assert len(typed) - 4 == len(single) >= 6
    for one in single:
        compose_command(one).parse()


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A copy of `conf/` to break."""
    folder = shutil.copytree(conf_dir(), tmp_path / "conf")
    for module in (comments, rows):
        monkeypatch.setattr(module, "conf_dir", lambda: folder)
    return folder


@pytest.mark.parametrize(
    ("file", "before", "after", "told"),
    [
        ("loss/focal", r"(gamma: 2.0) .*", r"\1", "conf/loss/focal.yaml: loss.gamma has no meaning"),
        ("model/encoder", r"(norm: batch) .*", r"\1  # none | batch | instance | group", "model.norm has no meaning"),
        ("train", r"(verbose: false) .*", r"\1", "conf/train.yaml: verbose has no meaning"),
        ("loss/focal", r"^#.*\n", "", "conf/loss/focal.yaml: begin it with a comment that says what it is"),
        ("loss/focal", r"gamma:", "gama:", "conf/loss/focal.yaml: the schema has no loss.gama"),
    ],
)
def test_what_says_nothing_is_refused_in_one_line(conf, file, before, after, told):
    path = conf / f"{file}.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(changed := re.sub(before, after, text, count=1), encoding="utf-8")
    assert changed != text
    with pytest.raises(SystemExit, match=re.escape(told)) as refusal:
        page.render()
    assert str(refusal.value).startswith("error: ")
    assert "\n" not in str(refusal.value)


def test_a_key_that_a_help_does_not_explain_is_refused(monkeypatch):
    monkeypatch.setitem(
        COMMANDS, "cache", COMMANDS["cache"]._replace(usage="List.\n\nUsage: python scripts/cache.py\n")
    )
    with pytest.raises(SystemExit, match="the help of cache: clear has no meaning"):
        page.render()


def test_comments_are_read_beside_below_and_above(conf):
    (conf / "loss" / "ours.yaml").write_text(
        "# What it is,\n# in two lines.\ndefaults: [focal, _self_]\nname: ours\n"
        "gamma: 3.0\n"
        "a: '# no comment'  # beside, and\n                   # below\n"
        "# above\n# it\nb:\n  - 1\n"
        "c: {d: 1}\n"
    )
    option = comments.read_option("loss", "ours")
    assert option.about == "What it is, in two lines."
    assert option.keys["loss.a"] == ("# no comment", "beside, and below")
    assert option.keys["loss.b"] == ([1], "above it")
    assert option.keys["loss.c"] == ({"d": 1}, "")
    inherited = comments.read_option("loss", "focal").keys["loss.gamma"].meaning
    assert option.keys["loss.gamma"] == (3.0, inherited)
    assert "loss.defaults" not in option.keys


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("likewise: docs/resume.md", "likewise: [resume.md](resume.md)"),
        ("of: none | batch (fast); null: all", "of: `none` · `batch` (fast); `null`: all"),
        ("times optimizer.lr, as with loss=dice", "times `optimizer.lr`, as with `loss=dice`"),
        ("a <b> * c", r"a \<b\> \* c"),
        ("<name>_mask, [a, b] and `x | y`", r"`<name>_mask`, `[a, b]` and `x · y`"),
        ("with none of both", "with none of both"),
    ],
)
def test_text_becomes_markdown(text, markdown):
    assert write_text(text, ["none", "batch", "null"]) == markdown


def test_a_bar_in_a_value_does_not_end_a_cell():
    assert make_table(("a", ""), [(write_code("x|y"), "")]) == "| a | |\n| --- | --- |\n| `x\\|y` | |\n"
