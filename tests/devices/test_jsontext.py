"""JSON that a file or a board may hold and that Python's reader takes, and nothing here could use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devices import jsontext
from edge.cli import main


@pytest.mark.parametrize(
    "text",
    [
        *("1" * 400, "1" * 5000, "-" + "9" * 30, str(1 << 63), "1e999", "-1e999", "NaN", "Infinity", "[" * 100_000),
        *('"\\ud800"', '{"\\udfff": 1}', '[["a", {"b": "\\uDC00x"}]]', '"\\udc00\\ud800"', "", "{", '"\ud800"'),
    ],
    ids=lambda text: text[:12].encode("ascii", "replace").decode() or "empty",
)
def test_what_nothing_can_use_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        jsontext.loads(text)
    with pytest.raises(ValueError):
        jsontext.loads(text.encode("utf-8", "surrogatepass"))


def test_bytes_that_are_no_utf_8_are_a_value_error() -> None:
    for data in (b"\xff\xfe{\x00}\x00", b'"\xe4"'):
        with pytest.raises(ValueError):
            jsontext.loads(data)


def test_everything_else_is_read_as_python_does() -> None:
    data = {"a": [1, -1, (1 << 63) - 1, -(1 << 63), 1.5, 1e308, True, None], "🐈": "🐈\u2028\x1b", "": {}}
    assert jsontext.loads(json.dumps(data)) == data
    assert jsontext.loads(json.dumps(data, ensure_ascii=False).encode()) == data


def test_names_of_files_that_are_no_text_can_be_mended() -> None:
    for text in ('{"a\\udcff": ["\\ud83d\\udc08", "\\udc08\\ud83d", {"b": "\\udcfe"}]}', '"\ud800"'):
        with pytest.raises(ValueError, match="half a character"):
            jsontext.loads(text)
    assert jsontext.loads('{"a\\udcff": ["\\ud83d\\udc08", "\\udc08\\ud83d", {"b": "\\udcfe"}]}', mend=True) == {
        "a\ufffd": ["🐈", "\ufffd\ufffd", {"b": "\ufffd"}]
    }


@pytest.mark.parametrize("said", ["1" * 400, "1e999", "NaN"])
def test_a_record_with_such_values_is_left_out(said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        '{"edgekit_run": 1, "id": null, "time": "2026-01-01T00:00:00Z", "command": "validate", "arguments": [], "exit_code": 0,'
    )
    text += '"seconds": VALUE, "board": null, "artefacts": [], "dataset_sha256": null, "versions": {}, "host": {}, "summary": "",'
    text += '"report": null, "error": null}'
    (tmp_path / "run.json").write_text(text.replace("VALUE", said))
    store = ["--store", str(tmp_path / "runs.sqlite")]
    assert main(["runs", "--import", str(tmp_path), *store]) in (0, 2)
    assert "left out: " in capsys.readouterr().err
    assert main(["runs", *store]) == 0
