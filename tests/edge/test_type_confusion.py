"""Answers, records and contracts in which a value is of another type: what reads them says so in one line, and nothing else."""

from __future__ import annotations

import copy
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge import report_schema, schema
from edge.artefact.contract import Contract
from edge.cli import main
from edge.errors import ContractError
from edge.history import record as run_record
from edge.history.store import RunStore, StoreError
from edge.validation import merging

pytestmark = pytest.mark.thorough

# One or more of every type of JSON, and what no program can go on with.
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 7, 1.5, 1e308, 10**30, "", "text", "\ud800", "\x1b[31m", [], [1], [None], ["a"], {}),
    *({"a": 1}, {"sha256": 3}, [[]], [{}], float("nan"), float("inf")),
)
GONE = object()
# Every so many of them, so that a run takes seconds; EDGEKIT_FUZZ_STRIDE=1 tries all, about 30,000.
STRIDE = int(os.environ.get("EDGEKIT_FUZZ_STRIDE", "97"))
STEP = {"images": 40, "agreement": 0.9, "error": 0.1, "top1": 0.3, "drop": 0.05, "ci95": [-0.02, 0.12], "lost": 3, "won": 1}
OPS = [{"position": 0, "op": "CONV_2D", "tensor": "a", "sqnr_db": 12.0}]
WRITTEN: dict[str, dict[str, Any]] = {
    "explain": {
        "file": "tiny.tflite",
        "model_sha256": "ab",
        "images": 40,
        "ladder": [{"name": "float32", "step": None, "total": STEP}, {"name": "int8", "step": STEP, "total": STEP}],
        "worst_step": "int8",
        "ops": OPS,
    },
    "qat": {
        "trained": "a.int8-qat.tflite",
        "ptq": "a.int8.tflite",
        "recommended": "a.int8-qat.tflite",
        "reason": "it paid",
        "best_epoch": 1,
        "epochs": [
            {"epoch": i, "loss": 0.5, "float": 0.9, "fake_quantized": 0.8, "int8": 0.8, "figure": "mae", "output": "b"}
            for i in (0, 1)
        ],
        "comparison": {"ptq": {"candidate": {"top1": 0.7}, "outputs": {"b": {"kind": "regression", "candidate": {"mae": 0.1}}}}},
    },
    "sequential": {
        "verdict": "pass",
        "images": 25,
        "drop": {"top1": 0.0, "flips_lost": 0, "flips_won": 0},
        "sequential": {"limit": 0.02, "alpha": 0.05, "power": 0.95},
        "model_sha256": "ab",
    },
    "ship": {"shipped": None, "verdict": "fail", "sentence": "fail: too slow", "steps": [], "advice": []},
    "deploy": {"release": "r1", "changed": True, "sha256": "ab", "target": "pi@board"},
    "quantize": {"variants": [{"name": "int8", "file": "a.int8.tflite", "bytes": 5}], "notes": []},
    "import": {
        "agreement": {"relative": 1e-6},
        "keras": "a.keras",
        "float32": {"file": "a.tflite"},
        "source": {"parameters": 5},
    },
    "fetch": {"verified": True, "use": "a.h5", "name": "a", "fresh": True, "sha256": "ab"},
    "tune": {"candidates": [], "ranking": [], "chosen": "a", "file": "a.tflite"},
    "fleet": {
        "boards": [{"release": "r1", "changed": True, "sha256": "ab", "target": "pi@board", "exit_code": 0, "error": None}]
    },
}


@pytest.fixture(scope="module")
def answers(
    tmp_path_factory: pytest.TempPathFactory, tiny_int8_artefact: Path, tiny_float_artefact: Path, tiny_images: Path
) -> dict[str, dict[str, Any]]:
    """What commands wrote, and the record of one as `edgekit runs ID --json` writes it."""
    folder = tmp_path_factory.mktemp("answers")
    file, images = str(tiny_int8_artefact), str(tiny_images)
    store = ["--store", str(folder / "runs.sqlite")]
    validate = ["validate", file, "--images", images, "--reference", str(tiny_float_artefact), "--max-drop", "0.5", *store]
    for name, line in {
        "validate": [*validate, "--diagnose", "never"],
        "benchmark": ["benchmark", file, "--runs", "20", "--seconds", "0"],
        "check": ["check", file, "--board", "coral-dev-board"],
        "check-all": ["check", file],
        "selftest": ["selftest", file],
        "record": ["runs", "1", *store],
    }.items():
        assert main([*line, "--json", str(folder / f"{name}.json")]) in (0, 1), name
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}
    return {**found, **copy.deepcopy(WRITTEN)}


def places(value: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all values in plain data; of a list those of the first two entries."""
    inside = list(value.items()) if isinstance(value, dict) else list(enumerate(value))[:2] if isinstance(value, list) else []
    for key, item in inside:
        yield (key,)
        yield from ((key, *rest) for rest in places(item))


def mutants(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the document with each of its values replaced by each of VALUES, and without it."""
    for path in places(document):
        for value in (*VALUES, GONE):
            made = copy.deepcopy(document)
            place: Any = made
            for key in path[:-1]:
                place = place[key]
            if value is not GONE:
                place[path[-1]] = value
            elif isinstance(place, dict):
                del place[path[-1]]
            else:
                place.pop(path[-1])
            yield f"{path} = {'gone' if value is GONE else value!r}", made


def names_of_answers() -> list[str]:
    return ["validate", "benchmark", "check", "check-all", "selftest", "record", *WRITTEN]


def test_what_commands_write_is_as_it_is_said_to_be(answers: dict[str, dict[str, Any]]) -> None:
    published = report_schema.published()
    jsonschema.Draft202012Validator.check_schema(published)
    for name, answer in answers.items():
        runs = run_record.parse(json.dumps(answer), time="2026-11-20T12:00:00Z", source=name)
        assert len(runs) == 1, name
        assert schema.problem(runs[0].to_dict(), report_schema.RUN) is None
        if name != "fleet":
            jsonschema.validate(answer, published)


def test_the_published_schema_refuses_what_the_code_refuses(answers: dict[str, dict[str, Any]]) -> None:
    for name in ("validate", "benchmark", "check", "explain", "qat"):
        for what, made in list(mutants(answers[name]))[::7]:
            found = schema.problem(made, report_schema.schema_of(name, made))
            if found is None:  # the code also refuses numbers and texts that no schema can speak of
                definition = report_schema.schema_of(name, made)
                assert jsonschema.Draft202012Validator(definition).is_valid(made), (name, what)


@pytest.mark.parametrize("name", names_of_answers())
def test_no_confused_answer_is_more_than_one_line(
    name: str, answers: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also the page, where a confused answer is taken; Markdown and JUnit then too."""
    file, store = tmp_path / "a.json", tmp_path / "runs.sqlite"
    made_pages = 0
    for what, made in list(mutants(answers[name]))[::STRIDE]:
        file.write_text(json.dumps(made), encoding="utf-8")
        code = main(["report", str(file), "--store", str(store)])
        said = capsys.readouterr()
        assert code in (0, 1, 2), (what, said.err)
        assert code != 2 or said.err.count("edgekit: error:") == 1, (what, said.err)
        if code == 2 or made_pages > 1:
            continue
        made_pages += 1
        for flags in (["--format", "md"], ["--format", "junit"], ["--redact"], ["--out", str(tmp_path / "a.html")]):
            code = main(["report", str(file), "--store", str(store), *flags])
            said = capsys.readouterr()
            assert code in (0, 1), (what, flags, said.err)


@pytest.mark.parametrize("name", names_of_answers())
def test_what_was_imported_can_be_listed_shown_compared_and_reported(
    name: str, answers: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, store = tmp_path / "answers", str(tmp_path / "runs.sqlite")
    folder.mkdir()
    (folder / "good.json").write_text(json.dumps(answers[name]), encoding="utf-8")
    for number, (_, made) in enumerate(mutants(answers[name])):
        if number % STRIDE == 0:
            (folder / f"{number:05}.json").write_text(json.dumps(made), encoding="utf-8")
    assert main(["runs", "--import", str(folder), "--store", store]) == 0, capsys.readouterr().err[-2000:]
    numbers = [run.id or 0 for run in RunStore(store).find()]
    capsys.readouterr()
    assert main(["runs", "--store", store, "--limit", "0", "--json", str(tmp_path / "all.json")]) == 0
    assert "cannot be read" not in capsys.readouterr().out
    for number in numbers[:: 1 + len(numbers) // 20]:
        assert main(["runs", str(number), "--store", store, "--json", str(tmp_path / "one.json")]) == 0
        assert main(["runs", str(numbers[0]), str(number), "--store", store, "--json", str(tmp_path / "two.json")]) == 0
    assert main(["report", f"{numbers[0]}-{numbers[-1]}", "--store", store]) in (0, 1, 2), capsys.readouterr().err
    assert main(["runs", "--store", store, "--prune"]) == 0
    assert "nothing to set aside" in capsys.readouterr().out


def test_no_confused_report_of_a_share_is_more_than_one_line(
    answers: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, file = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(answers["validate"]), encoding="utf-8")
    for what, made in list(mutants(answers["validate"]))[::STRIDE]:
        file.write_text(json.dumps(made), encoding="utf-8")
        for files in ([file], [good, file]):
            code = merging.main([*map(str, files), "--max-drop", "0.1"])
            said = capsys.readouterr()
            assert code in (0, 2), (what, said.err)
            assert said.err.count("\n") == (code == 2), (what, said.err)


def test_no_confused_contract_is_anything_but_a_contract_error(tiny_int8_artefact: Path) -> None:
    from edge.artefact import container

    plain = container.read(tiny_int8_artefact).contract
    assert plain is not None
    taken = 0
    for what, made in mutants(plain.to_dict()):
        try:
            contract = Contract.from_json(json.dumps(made), where="it")
        except ContractError as error:
            assert str(error).startswith("it: "), what
        else:
            taken += 1
            contract.to_json().encode("utf-8")
    assert taken


COLUMNS = (
    "time",
    "command",
    "arguments",
    "exit_code",
    "seconds",
    "board",
    "artefacts",
    "dataset_sha256",
    "versions",
    "host",
    "summary",
)
BAD_CELLS: tuple[Any, ...] = (
    *(0, 1.5, "", "text", b"\xff\xfe", b"{}", "{}", "[]", "[1]", "null", "5", '[{"role": 1}]', '{"a": 1}'),
    "[" * 5000,
)


def test_a_bad_record_in_the_history_never_stops_the_others(
    answers: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = run_record.parse(json.dumps(answers["record"]), time="2026-11-20T12:00:00Z", source="a")
    store = RunStore(tmp_path / "runs.sqlite")
    first = store.add(run)
    with sqlite3.connect(store.path) as connection:
        for column in (*COLUMNS, "error", "report"):
            for cell in BAD_CELLS:
                names = [name for name in (*COLUMNS, "error", "report") if name != column]
                values = connection.execute(f"SELECT {', '.join(names)} FROM runs WHERE id = ?", (first,)).fetchone()
                marks = ", ".join("?" * (len(names) + 2))
                connection.execute(
                    f"INSERT INTO runs (digest, {column}, {', '.join(names)}) VALUES ({marks})",
                    (f"{column}{cell!r}", cell, *values),
                )
    connection.close()
    words = ["--store", str(store.path)]
    count = len(store.find())
    assert count == 1 + (len(COLUMNS) + 2) * len(BAD_CELLS)
    assert main(["runs", "--limit", "0", *words, "--json", str(tmp_path / "all.json")]) == 0
    assert "cannot be read: no record of a run: " in capsys.readouterr().out
    for number in range(1, count + 1):
        assert main(["runs", str(number), *words]) in (0, 2)
        assert main(["runs", "1", str(number), *words]) in (0, 2)
    assert main(["report", f"1-{count}", *words]) in (0, 1)
    capsys.readouterr()
    assert main(["runs", "--prune", *words, "--json", str(tmp_path / "pruned.json")]) == 0
    pruned = json.loads((tmp_path / "pruned.json").read_text("utf-8"))
    kept = json.loads(Path(pruned["kept_in"]).read_text("utf-8"))
    assert [row["id"] for row in kept["rows"]] == pruned["pruned"]
    assert len(store.find()) == count - len(pruned["pruned"])
    assert not any(entry.error and "cannot be read" in entry.error for entry in store.find())
    assert store.get(1).to_dict() == {**run.to_dict(), "id": 1}
    capsys.readouterr()
    assert main(["runs", "--prune", *words]) == 0
    assert "nothing to set aside" in capsys.readouterr().out


def test_runs_are_set_aside_by_number_and_by_age(answers: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.sqlite")
    for day in (1, 2, 3, 4):
        store.add(*run_record.parse(json.dumps(WRITTEN["deploy"]), time=f"2026-11-0{day}T12:00:00Z", source="a"))
    words = ["--store", str(store.path), "--prune"]
    assert main(["runs", "2", *words]) == 0
    assert main(["runs", "--before", "2026-11-02", *words]) == 0
    assert [run.id for run in store.find()] == [3, 4]
    assert main(["runs", "9", *words]) == 2
    assert main(["runs", "--before", "2026-11-02", "--store", str(store.path)]) == 2
    assert len(list(tmp_path.glob("runs.sqlite.pruned-*.json"))) == 2
    with sqlite3.connect(store.path) as connection, pytest.raises(sqlite3.IntegrityError, match="never deleted"):
        connection.execute("DELETE FROM runs")  # for everybody else it stays append-only


def test_the_database_of_another_program_is_not_read_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        connection.execute("CREATE TABLE runs (id INTEGER, time TEXT)")
    for words in ([], ["1"], ["--prune"]):
        assert main(["runs", *words, "--store", str(tmp_path / "other.sqlite")]) == 2
        assert "this is the database of another program" in capsys.readouterr().err


def test_what_cannot_be_read_again_is_not_recorded(tmp_path: Path) -> None:
    (run,) = run_record.parse(json.dumps(WRITTEN["deploy"]), time="2026-11-01T12:00:00Z", source="a")
    from dataclasses import replace

    store = RunStore(tmp_path / "runs.sqlite")
    with pytest.raises(StoreError, match="not added, no record of a run: time is 'soon', expected a date"):
        store.add(replace(run, time="soon"))
    number = store.add(replace(run, arguments=("deploy", "caf\udce9.tflite"), host={"load": float("nan")}))
    assert number is not None
    assert store.get(number).arguments == ("deploy", "caf\\udce9.tflite")
    assert store.get(number).host == {"load": None}
