"""`qsparse verify` on the command line, and its report as HTML."""

import base64
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from qsparse import cli
from qsparse.tflite_export import verify_file
from qsparse.tflite_export.report.html import to_html
from tests.tflite_export.verification import (
    loaded,
    shifted,
)


def test_command_line(exports, tmp_path, capfd):
    command = ["verify", f"{exports}/cnn.keras", f"{exports}/cnn.tflite"]
    command += ["--data", f"{exports}/test.npz"]
    assert cli.main(command) == 0
    shown = capfd.readouterr()
    assert "conv2d_2" in shown.out and "Every op" in shown.out and shown.err == ""
    command[2] = str(shifted(exports, "cnn", "conv2d_2", 1, tmp_path))
    assert cli.main([*command, "--json", "--max-lsb", "0"]) == 1
    result = json.loads(capfd.readouterr().out)
    assert len(result["tensors"]) == 8 and len(result["failures"]) == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({1: "{exports}/absent.keras"}, "no such file"),
        ({1: "{exports}/cnn.tflite"}, "must be a .keras file"),
        ({2: "{exports}/transformer.tflite"}, "was not made from this model"),
        ({2: "{exports}/test.npz"}, "is not a LiteRT model"),
        ({4: "{exports}/absent.npz"}, "no such file"),
        ({4: "{exports}/cnn.tflite"}, "is no .npz file or damaged"),
        ({4: "{exports}/cnn.keras"}, "it holds other things than numbers"),
        ({4: "{tmp}/empty.npz"}, "holds no samples"),
        ({4: "{tmp}/pickle.npz"}, "is no .npz file or damaged"),
        ({4: "{tmp}/uneven.npz"}, "different numbers of samples"),
        ({4: "{tmp}/small.npz"}, r"the model takes (None, 28, 28, 1)"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    change, message, exports, tmp_path, capfd
):
    np.savez(tmp_path / "empty.npz", y=np.zeros(3))
    np.savez(tmp_path / "pickle.npz", x=np.array([{}]))
    np.savez(tmp_path / "uneven.npz", x=np.zeros((2, 28, 28, 1)), y=np.zeros(3))
    np.savez(tmp_path / "small.npz", x=np.zeros((2, 8, 8, 1)))
    command = ["verify", "{exports}/cnn.keras", "{exports}/cnn.tflite"]
    command += ["--data", "{exports}/test.npz"]
    for position, argument in change.items():
        command[position] = argument
    assert (
        cli.main([part.format(exports=exports, tmp=tmp_path) for part in command]) == 2
    )
    shown = capfd.readouterr()
    assert shown.out == "" and message in shown.err
    assert shown.err.startswith("qsparse: error: ") and shown.err.count("\n") == 1


def test_html_report_is_whole_and_safe(exports, tmp_path):
    archive = np.load(exports / "test.npz")
    model = loaded(exports / "cnn.keras")
    path = shifted(exports, "cnn", "conv2d_2", 1, tmp_path)
    found = verify_file(model, path, archive["x"], archive["y"])
    evil = [
        replace(t, layer=f"{t.layer}<script>&\"'", op="<b>", fused=("<i>",))
        for t in found.tensors
    ]
    found = replace(
        found, tensors=evil, model="<model>", first_growth=evil[3].tensor, max_lsb=0
    )
    page = to_html(found)
    reader = Reader()
    reader.feed(page)
    assert reader.open == [] and reader.unknown == set()
    assert [f"{t.label}" in reader.text for t in evil] == [True] * len(evil)
    assert all(row.layer in reader.text for row in found.weights)
    assert "first grows at" in reader.text and "1 check failed" in reader.text
    (image,) = reader.links
    header, data = image.split(",", 1)
    assert header == "data:image/png;base64"
    assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
    assert not re.search(r"https?:|//|@import|url\(", page.replace(data, ""))


class Reader(HTMLParser):
    """Collects the text and the links of a page, and what does not belong in it."""

    TAGS = set(
        "html head title style body main header h1 h2 p section div span small b i ul "
        "li table thead tbody tr th td dl dt dd".split()
    )

    def __init__(self):
        super().__init__()
        self.open, self.links, self.unknown, self.text = [], [], set(), ""

    def handle_starttag(self, tag, attrs):
        known = {"class", "style", "title", "lang", "charset", "name", "content", "alt"}
        self.links += [value for key, value in attrs if key in ("src", "href")]
        self.unknown |= {key for key, _ in attrs} - known - {"src"}
        if tag not in ("meta", "img", "wbr"):
            self.unknown |= {tag} - self.TAGS
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_html_from_the_command_line(exports, tmp_path, capsys, monkeypatch):
    command = ["verify", f"{exports}/cnn.keras", f"{exports}/cnn.tflite"]
    command += ["--data", f"{exports}/test.npz", "--samples", "2", "--html"]
    assert cli.main([*command, f"{tmp_path}/r.html"]) == 0
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
    assert cli.main([*command, f"{tmp_path}/absent/r.html"]) == 2
    assert "Create it first" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main([*command, f"{tmp_path}/s.html"]) == 2
    assert "pip install 'keras-qsparse[plot]'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]
