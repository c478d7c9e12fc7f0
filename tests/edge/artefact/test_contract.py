from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import edge
from edge.artefact import contract_schema
from edge.artefact.contract import (
    Contract,
    ExtraInput,
    GoldenOutputs,
    GoldenSample,
    InputSpec,
    OutputSpec,
    Provenance,
    Quantization,
)
from edge.artefact.vocabulary import SCHEMA_VERSION
from edge.errors import ContractError

SAMPLES = Path(__file__).parents[2] / "data" / "contracts"
SCHEMA = json.loads((Path(edge.__file__).parent / "artefact" / "contract.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SAMPLES / "version-1.json").read_text(encoding="utf-8"))
    return found


def _accepts(data: Any) -> bool:
    try:
        Contract.from_json(json.dumps(data), where="test")
    except ContractError:
        return False
    return True


def test_the_sample_of_version_1_loads() -> None:
    """An artefact of the first release must open for ever: this file is never to be changed."""
    contract = Contract.from_json((SAMPLES / "version-1.json").read_bytes(), where="version-1.json")
    assert contract.input.mean == (103.9, 116.8, 123.7)
    assert contract.outputs[0].labels == ("background", "daisy", "rose – wild", "tulip")
    assert contract.outputs[0].background_index == 0
    assert contract.outputs[1].threshold == 0.4
    assert contract.quantization.representative[1] == ("train/tulip/2.jpg", "b" * 64)
    assert contract.golden[0].outputs[0].values["height_cm"] == "eJxjAAAAAQAB"


def test_writing_the_sample_gives_it_back() -> None:
    text = (SAMPLES / "version-1.json").read_text(encoding="utf-8")
    assert Contract.from_json(text, where="test").to_json() == text


def test_a_newer_version_is_refused_with_what_reads_it() -> None:
    with pytest.raises(
        ContractError, match=r"schema version 4, this edgekit reads up to 3; edgekit 3\.1\.0 wrote it and reads it"
    ):
        Contract.from_json((SAMPLES / "version-4.json").read_text(encoding="utf-8"), where="version-4.json")
    assert SCHEMA_VERSION == 3


def test_the_sample_of_version_2_loads_and_is_written_back_as_it_is() -> None:
    text = (SAMPLES / "version-2.json").read_text(encoding="utf-8")
    contract = Contract.from_json(text, where="version-2.json")
    assert contract.input.channels == 21
    assert contract.extra_inputs[1].shape == (60, 3)
    assert contract.extra_inputs[1].scale == (1.0, 1.0, 30.0)
    assert contract.to_json() == text


def test_the_sample_of_version_3_says_what_a_network_was_before() -> None:
    text = (SAMPLES / "version-3.json").read_text(encoding="utf-8")
    contract = Contract.from_json(text, where="version-3.json")
    (lineage,) = contract.lineage
    assert lineage.blocks == ("block35_1", "backbone/add_7")
    assert lineage.channels == (("conv_3", 24, 32),)
    assert (lineage.height, lineage.width, lineage.training_s) == (96, 72, 61.5)
    assert contract.to_json() == text
    older = contract.replace(lineage=())
    assert older.schema_version == 2
    assert "lineage" not in older.to_dict()


def test_a_lineage_that_makes_no_sense_is_refused_with_its_place() -> None:
    plain = json.loads((SAMPLES / "version-3.json").read_text(encoding="utf-8"))
    plain["lineage"][0]["channels"][0] = ["conv_3", 24]
    with pytest.raises(ContractError, match=r"lineage\[0\]\.channels\[0\]"):
        Contract.from_json(json.dumps(plain), where="test")


def test_the_oldest_version_that_says_it_all_is_written() -> None:
    contract = Contract.from_json((SAMPLES / "version-2.json").read_bytes(), where="version-2.json")
    plain = contract.replace(extra_inputs=(), input=InputSpec(width=96, height=72))
    assert plain.schema_version == 1
    assert "frames" not in plain.to_dict()["input"]
    assert "extra_inputs" not in plain.to_dict()
    assert plain.replace(input=InputSpec(width=96, height=72, frames=3)).to_dict()["schema_version"] == 2
    assert contract.replace(input=InputSpec(width=1, height=1, frames=0)).to_dict()["input"]["frames"] == 0
    with pytest.raises(ContractError, match=r"input\.frames is 0, expected 1 or more, as there are no extra_inputs"):
        plain.replace(input=InputSpec(width=1, height=1, frames=0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": ()}, "shape"),
        ({"shape": (0,)}, "shape"),
        ({"mean": (1.0, 2.0)}, "mean"),
        ({"scale": (0.0,)}, "scale"),
        ({"scale": (math.inf,)}, "scale"),
    ],
)
def test_extra_inputs_make_sense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=rf"extra_inputs\[speed\]\.{message}"):
        ExtraInput(**{"name": "speed", "shape": (60, 3), **fields})


def test_names_of_extra_inputs_differ() -> None:
    contract = Contract.from_json((SAMPLES / "version-2.json").read_bytes(), where="version-2.json")
    with pytest.raises(ContractError, match=r"extra_inputs is \['image'\], expected names that differ"):
        contract.replace(extra_inputs=(ExtraInput(name="image", shape=(1,)),))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"schema_version": 0}', '{"schema_version": true}', "[" * 100_000])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ContractError, match=r"here\.tflite: "):
        Contract.from_json(text, where="here.tflite")


def test_errors_name_the_key(plain: dict[str, Any]) -> None:
    broken = copy.deepcopy(plain)
    broken["outputs"][1]["threshold"] = "half"
    with pytest.raises(ContractError, match=r"contract\.outputs\[1\]\.threshold is 'half', expected a number"):
        Contract.from_json(json.dumps(broken), where="test")
    broken = copy.deepcopy(plain)
    broken["input"]["colour"] = "rgb"
    with pytest.raises(ContractError, match=r"contract\.input has the unknown key colour, expected only the keys width, height"):
        Contract.from_json(json.dumps(broken), where="test")


def test_the_schema_is_a_schema_and_takes_the_sample(plain: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(plain, SCHEMA)


def test_the_schema_that_is_shipped_is_the_one_that_the_reader_goes_by() -> None:
    made = json.dumps(contract_schema.published(), indent=2) + "\n"
    shipped = (Path(edge.__file__).parent / "artefact" / "contract.schema.json").read_text(encoding="utf-8")
    assert shipped == made, "run python -m edge.artefact.contract_schema > edge/artefact/contract.schema.json"


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        (contract_schema.CONTRACT, Contract),
        (contract_schema.INPUT, InputSpec),
        (contract_schema.EXTRA_INPUT, ExtraInput),
        (contract_schema.OUTPUT, OutputSpec),
        (contract_schema.SOURCE, Provenance),
        (contract_schema.QUANTIZATION, Quantization),
        (contract_schema.GOLDEN_SAMPLE, GoldenSample),
        (contract_schema.GOLDEN_OUTPUTS, GoldenOutputs),
    ],
)
def test_the_schema_names_the_fields_of_the_classes(schema: Mapping[str, Any], kind: Any) -> None:
    fields = dataclasses.fields(kind)
    needed = {f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}
    assert set(schema["properties"]) == {f.name for f in fields}
    assert set(schema["required"]) - {"schema_version"} == needed


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("name",), None, "contract.name is null, expected text"),
        (("input", "width"), 0, "contract.input.width is 0, expected at least 1"),
        (("input", "width"), 1.5, "contract.input.width is 1.5, expected a whole number"),
        (("input", "crop_fraction"), 0, "contract.input.crop_fraction is 0, expected more than 0"),
        (("input", "mean", 1), "x", "contract.input.mean[1] is 'x', expected a number"),
        (("input", "scale", 1), 0, "input.scale is (58.4, 0.0, 57.4), expected no zero"),
        (("outputs",), [], "contract.outputs has 0 entries, expected at least 1"),
        (("outputs", 1, "threshold"), 1, "contract.outputs[1].threshold is 1, expected less than 1"),
        (("outputs", 0, "background_index"), 9, "outputs[species].background_index is 9, expected 0 to 3"),
        (("quantization", "representative", 0), ["x"], "contract.quantization.representative[0] has 1 entries, expected 2"),
        (("source", "x" * 9999), 1, "contract.source has the unknown key 'xxxxxxxxxx"),
    ],
)
def test_errors_say_what_was_expected(plain: dict[str, Any], path: tuple[Any, ...], value: object, message: str) -> None:
    broken = copy.deepcopy(plain)
    place: Any = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ContractError) as caught:
        Contract.from_json(json.dumps(broken), where="a.tflite")
    assert str(caught.value).startswith(f"a.tflite: contract.json: {message}")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _changed(plain: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sample with one thing changed: each value replaced by each of many, each key left out, one key too many."""
    others: list[Any] = [
        None,
        True,
        -1,
        0,
        1,
        0.5,
        1.5,
        300,
        10**6,
        "",
        "x",
        "gray",
        "letterbox",
        "crop",
        "nearest",
        [],
        ["x"],
        {},
    ]
    for path in _places(plain):
        if not path:
            continue
        for other in others:
            broken = copy.deepcopy(plain)
            target: Any = broken
            for key in path[:-1]:
                target = target[key]
            target[path[-1]] = copy.deepcopy(other)
            yield f"{path} = {other!r}", broken
        if isinstance(path[-1], str):
            broken = copy.deepcopy(plain)
            target = broken
            for key in path[:-1]:
                target = target[key]
            del target[path[-1]]
            yield f"without {path}", broken
            target["unheard_of"] = 1
            yield f"unheard_of beside {path}", broken


def _repeats_a_name(data: dict[str, Any]) -> bool:
    for key in ("outputs", "extra_inputs"):
        found = data.get(key)
        names = [str(o.get("name")) for o in found if isinstance(o, dict)] if isinstance(found, list) else []
        if len(set(names)) < len(names):
            return True
    return False


@pytest.mark.parametrize("sample", ["version-1.json", "version-2.json"])
def test_schema_and_code_agree_on_every_change(sample: str) -> None:
    plain = json.loads((SAMPLES / sample).read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(SCHEMA)
    disagree, accepted, refused = [], 0, 0
    for what, data in _changed(plain):
        if sample == "version-2.json" and ("'shape'" in what or "without ('extra_inputs'" in what or "'extra_inputs') =" in what):
            continue  # JSON Schema has no words for lengths that depend on each other
        if _repeats_a_name(data):
            continue  # the one rule that JSON Schema has no words for
        ours, theirs = _accepts(data), validator.is_valid(data)
        if ours != theirs and "background_index" not in what:  # nor for "below the number of labels"
            disagree.append((what, ours, theirs))
        accepted, refused = accepted + ours, refused + (not ours)
    assert not disagree
    assert accepted > 100
    assert refused > 1000


@pytest.mark.parametrize(
    "fields",
    [
        {"width": 0},
        {"height": 10000},
        {"color": "cmyk"},
        {"mean": (1.0,)},
        {"scale": (1.0, 0.0, 1.0)},
        {"mean": (math.nan, 0.0, 0.0)},
        {"crop_fraction": 0.0},
        {"crop_fraction": math.nan},
        {"letterbox_fill": 256},
        {"resample": "lanczos", "antialias": False},
        {"fit": "letterbox", "crop_fraction": 0.5},
    ],
)
def test_input_specs_make_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match=r"input\."):
        InputSpec(**{"width": 10, "height": 10, **fields})


def test_output_specs_make_sense() -> None:
    with pytest.raises(ContractError, match=r"outputs\[a\]\.kind"):
        OutputSpec(name="a", kind="softmax")
    with pytest.raises(ContractError, match="background_index is 2, expected 0 to 1"):
        OutputSpec(name="a", kind="logits", labels=("x", "y"), background_index=2)
    with pytest.raises(ContractError, match="names that differ"):
        Contract(
            name="m",
            input=InputSpec(width=1, height=1),
            outputs=(OutputSpec(name="a", kind="logits"), OutputSpec(name="a", kind="logits")),
        )
