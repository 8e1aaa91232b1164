"""Files of strangers: each is refused in one line, and nothing that it asks for is done."""

import ast
import codecs
import copy
import io
import json
import os
import pickle
import shutil
import stat
import struct
import tarfile
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from pickletools import genops
from typing import Any

import numpy as np
import pytest
import torch
from bombs import png_claiming, tiff_claiming
from conftest import TINY, Said, change_summary

from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.checkpoints.record import KEY
from unet_exp.errors import DataError
from unet_exp.io.archive import BadArchive, unpack
from unet_exp.io.writing import write_image
from unet_exp.runs.run_folder import RunFolder

Cli = Callable[..., Said]
Content = dict[str, Any]
RUN = RunFolder(Path(__file__).parents[1] / "fixtures/format-3")
GENUINE = RUN.best.read_bytes()


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "it_ran"
    yield path
    assert not path.exists()


@pytest.fixture
def content() -> Content:
    return copy.deepcopy(torch.load(RUN.best, weights_only=True))


def saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def repacked(changes: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """The genuine archive with other members; names without the folder that they lie in."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GENUINE)) as genuine, zipfile.ZipFile(file, "w", compression) as archive:
        for name in genuine.namelist():
            archive.writestr(name, changes.get(name.partition("/")[2], genuine.read(name)))
    return file.getvalue()


def member(name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(GENUINE)) as archive:
        return archive.read(next(whole for whole in archive.namelist() if whole.endswith(name)))


def many_times(size: int, count: int) -> bytes:
    """An archive whose directory lists one member under many names."""
    file = io.BytesIO(GENUINE)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("best/data/1000", bytes(size))
        for number in range(1001, 1000 + count):
            again = copy.copy(archive.getinfo("best/data/1000"))
            again.filename = f"best/data/{number}"
            archive.filelist.append(again)
    return file.getvalue()


def claiming(numbers: int) -> bytes:
    """An archive whose pickle says that its first tensor is so large."""
    pickled = member("data.pkl")
    steps = list(genops(pickled))
    end = next(place for place, (step, _, _) in enumerate(steps) if step.name == "BINPERSID")
    count = max(place for place in range(end) if steps[place][0].name.startswith(("BININT", "LONG")))
    begin, behind = steps[count][2], steps[count + 1][2]
    return repacked({"data.pkl": pickled[:begin] + b"\x8a\x08" + struct.pack("<q", numbers) + pickled[behind:]})


class Beyond:
    """A tensor of four numbers that says it has more, pickled as torch does it."""

    def __init__(self, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> None:
        self.place = offset, size, stride

    def __reduce__(self) -> tuple[Any, ...]:
        storage = torch.storage.TypedStorage(wrap_storage=torch.ones(4).untyped_storage(), dtype=torch.float32)
        return torch._utils._rebuild_tensor_v2, (storage, *self.place, False, OrderedDict())


def repeated(times: int = 12) -> list[Any]:
    """A few lists that stand for 10^13 words."""
    found: list[Any] = ["lol"] * 10
    for _ in range(times):
        found = [found] * 10
    return found


def deep(times: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(times):
        found = [found]
    return found


def scripted() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), file)
    return file.getvalue()


def tarred(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("pickle")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


RUNS_CODE: dict[str, Callable[[Content, Payload], bytes]] = {
    "saved beside the rest": lambda content, code: saved({**content, "extra": code}),
    "among the weights": lambda content, code: saved({**content, "state_dict": {"network.x": code}}),
    "in what is known of the network": lambda content, code: saved({**content, KEY: {**content[KEY], "step": code}}),
    "the pickle of a genuine archive": lambda _, code: repacked({"data.pkl": pickle.dumps(code, 2)}),
    "a bare pickle": lambda _, code: pickle.dumps(code),
    "a bare pickle before a genuine archive": lambda _, code: pickle.dumps(code, 2) + GENUINE,
    "a tar of old": lambda _, code: tarred(pickle.dumps(code)),
    "TorchScript": lambda *_: scripted(),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", RUNS_CODE.values(), ids=RUNS_CODE)
def test_code_in_a_checkpoint_is_refused_and_not_run(
    make: Callable[[Content, Payload], bytes], content: Content, marker: Path, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.ckpt"
    path.write_bytes(make(content, Payload(marker)))
    assert told(path)


def test_the_payload_works(tmp_path: Path) -> None:
    path = tmp_path / "theirs.ckpt"
    path.write_bytes(RUNS_CODE["saved beside the rest"]({}, Payload(tmp_path / "it_ran")))
    torch.load(path, weights_only=False)
    assert (tmp_path / "it_ran").exists()


@pytest.mark.parametrize("entry", ["evaluate", "predict", "export", "init_from", "resume"])
def test_each_entry_point_refuses_code(entry: str, content: Content, marker: Path, cli: Cli, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(RUN.path, tmp_path / "run"))
    change_summary(folder, status="running")
    code = RUNS_CODE["saved beside the rest"](content, Payload(marker))
    for path in (folder.best, folder.last, folder.previous):
        path.write_bytes(code)
    words = {
        "predict": ("predict", f"checkpoint={folder.path}", "input=slice.png"),
        "init_from": ("train", *TINY, f"init_from={folder.path}"),
        "resume": ("train", f"resume={folder.path}"),
    }
    said = cli(*words.get(entry, (entry, f"checkpoint={folder.path}")))
    assert "it holds more than plain data and was refused" in said.mistake


HUGE: dict[str, Callable[[Content], bytes]] = {
    "a number repeated": lambda content: saved(with_weight(content, torch.zeros(1).expand(10**12))),
    "a tensor without numbers": lambda content: saved(with_weight(content, torch.empty(10**12, device="meta"))),
    "a sparse tensor": lambda content: saved(
        with_weight(content, torch.sparse_coo_tensor(torch.zeros(1, 0).long(), torch.zeros(0), (10**12,)))
    ),
    "more than is stored": lambda content: saved(with_weight(content, Beyond((10**9,), (1,)))),
    "strides beyond what is stored": lambda content: saved(with_weight(content, Beyond((1000,), (1000,)))),
    "a place before what is stored": lambda content: saved(with_weight(content, Beyond((2,), (1,), -100))),
    "a size that overflows": lambda content: saved(with_weight(content, Beyond((2**31, 2**31, 4), (0, 0, 0)))),
    "a storage of a terabyte": lambda _: claiming(10**12),
    "a storage larger than its member": lambda _: claiming(10**4),
    "a packed archive": lambda _: repacked({"data.pkl": bytes(10**6)}, zipfile.ZIP_DEFLATED),
    "one member under many names": lambda _: many_times(10**5, 100),
    "lists that repeat one another": lambda content: saved(with_known(content, repeated())),
    "lists that repeat one another, as the format": lambda content: saved(with_known(content, repeated(), "format")),
    "a list that holds itself": lambda content: saved(with_known(content, ring())),
    "a thousand lists in one another": lambda content: saved(with_config(content, deep(200))),
}


def with_weight(content: Content, weight: Any) -> Content:
    return {**content, "state_dict": {**content["state_dict"], "network.x": weight}}


def with_known(content: Content, value: Any, key: str = "channels") -> Content:
    return {**content, KEY: {**content[KEY], key: value}}


def with_config(content: Content, value: Any) -> Content:
    return with_known(content, {**content[KEY]["config"], "seed": value}, "config")


def ring() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


class Calls:
    """Calls something when it is unpickled that `weights_only=True` lets through."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        Calls(bytearray, 2**62),
        Calls(codecs.encode, "x" * 99, "utf-32"),
        Calls(Counter, "xy"),
        Calls(torch.Size, (1,)),
        Calls(OrderedDict, [(1, 2)]),
    ],
    ids=lambda call: call.call[0].__name__,
)
@pytest.mark.parametrize("name", ["data.pkl", "DATA.PKL"])
def test_what_makes_much_of_little_is_not_called(call: Calls, name: str, content: Content, tmp_path: Path) -> None:
    path = tmp_path / "theirs.ckpt"
    path.write_bytes(saved({**content, "extra": call}).replace(b"data.pkl", name.encode()))
    assert "it holds more than plain data and was refused" in told(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", HUGE.values(), ids=HUGE)
def test_a_checkpoint_that_claims_to_be_huge_is_refused_at_once(
    make: Callable[[Content], bytes], content: Content, tmp_path: Path
) -> None:
    path = tmp_path / "theirs.ckpt"
    path.write_bytes(make(content))
    said = told(path)
    assert "damaged" in said or "refused" in said


def test_weights_that_share_their_memory_count_once(content: Content, tmp_path: Path) -> None:
    """So that no memory is taken for a network that the file does not hold."""
    shared = torch.zeros(10**5)
    content["state_dict"] = {f"network.{number}": shared for number in range(10**4)}
    content[KEY]["config"]["model"] |= {"width": 3000, "depth": 2}
    torch.save(content, tmp_path / "theirs.ckpt")
    with pytest.raises(DataError, match=r"it holds 100,000 numbers, and the network .* has [\d,]{11,} parameters"):
        open_checkpoint(tmp_path / "theirs.ckpt").network()


def test_nothing_loads_more_than_plain_data() -> None:
    """Ruff forbids pickle, eval and YAML tags; this is about torch.load and Lightning's use of it."""
    for path in (Path(__file__).parents[2] / "unet_exp").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("torch.load", "trainer.fit"):
                options = {option.arg: ast.unparse(option.value) for option in call.keywords}
                assert options.get("weights_only") == "True", f"{path}:{call.lineno}"


def told(path: Path) -> str:
    with pytest.raises(DataError) as mistake:
        open_checkpoint(path)
    message = str(mistake.value)
    assert message.startswith(f"checkpoint={path}: ")
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bomb.png", png_claiming(2**30, 16)),
        ("bomb.png", png_claiming(20_000, 20_000, 10**6)),
        ("bomb.tif", tiff_claiming(2**30)),
    ],
    ids=["2^30 wide", "20,000 x 20,000", "TIFF 2^30 wide"],
)
def test_a_bomb_is_not_predicted(name: str, data: bytes, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    said = cli("predict", f"checkpoint={RUN.path}", f"input={name}", "output=masks")
    assert name in said.mistake
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize(
    ("kind", "name"), [(stat.S_IFLNK, "way"), (stat.S_IFCHR, "null"), (stat.S_IFIFO, "pipe"), (stat.S_IFSOCK, "socket")]
)
def test_an_archive_holds_files_and_folders_alone(kind: int, name: str, tmp_path: Path) -> None:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "theirs.zip", "w") as archive:
        archive.writestr(entry, "..")
        archive.writestr(f"{name}/evil", "through it")
    with pytest.raises(BadArchive, match="which is a link or device"):
        unpack(tmp_path / "theirs.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil").exists()


def doctored(path: Path, change: Callable[[Any], None]) -> Path:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = onnx.load(RUN.path / "network.onnx")
    change(model)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("place", ["../secret", "{whole}", "link", "pipe", "a/../../secret"])
def test_the_weights_of_an_exported_network_lie_beside_it(place: str, cli: Cli, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(10**5))

    def change(model: Any) -> None:
        weight = model.graph.initializer[0]
        entries = {
            "location": place.replace("{whole}", str(secret)),
            "offset": "0",
            "length": str(len(weight.raw_data)),
        }
        weight.ClearField("raw_data")
        weight.data_location = 1  # EXTERNAL
        for key, value in entries.items():
            entry = weight.external_data.add()
            entry.key, entry.value = key, value

    path = doctored(tmp_path / "sub/theirs.onnx", change)
    (path.parent / "link").symlink_to(secret)
    os.mkfifo(path.parent / "pipe")
    assert "this is no ONNX file, or it is damaged" in cli("predict", f"checkpoint={path}", "input=x.png").mistake


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", 99, "its format 99 is newer"),
        ("format", "x", "its format is 'x'"),
        ("config", None, "config=null"),
        ("channels", 10**9, "has 1000000000 values of mean and std"),
        ("classes", deep(900), "it is damaged"),
    ],
)
def test_what_an_exported_network_says_is_checked(key: str, value: Any, said: str, cli: Cli, tmp_path: Path) -> None:
    def change(model: Any) -> None:
        (entry,) = [entry for entry in model.metadata_props if entry.key == f"{KEY}.{key}"]
        now = json.loads(entry.value)
        entry.value = json.dumps({**now, **value} if isinstance(value, dict) else value)

    write_image(tmp_path / "x.png", np.zeros((32, 32), np.uint8))
    path = doctored(tmp_path / "sub/theirs.onnx", change)
    assert said in cli("predict", f"checkpoint={path}", "input=x.png").mistake
