"""Float, post-training quantization and quantization-aware training side by side, per channel and per tensor, on unseen photos.

    python benchmarks/qat.py flowers.keras --images train/ --test test/ --epochs 2 --photos 1000

The training photos are split: every tenth validates (it chooses the epoch), the rest train; ``--test`` chooses nothing. Where the
network itself was trained on all of ``--images``, the validation photos are not new to it, and its accuracy there is too high.

A float control gets the same extra epochs, and is quantized after training too: fine-tuning alone moves top-1. Rows "distilled"
learn from the float network's answers only, so that no fine-tuning is in them.
Everything is paired against the float network; rows of training with labels against the float control too. Each row is kept in
``OUT/rows.json`` as soon as it is there, and a second run goes on from there. Prints a table and appends it to
``benchmarks/results/qat.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from record import append

SCHEMES = (("per channel", True), ("per tensor", False))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, help="default: edgekit's, which depends on the labels")
    parser.add_argument("--photos", type=int, help="train on so many of the photos only")
    parser.add_argument("--out", type=Path, default=Path("out-qat"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(args)
    comparison.run()
    print(table(comparison.rows))
    append("qat", {"epochs": args.epochs, "batch": args.batch, "learning_rate": args.learning_rate, **comparison.facts()})
    return 0


class Comparison:
    """``rows`` by name: what is known so far. Each step makes the rows that are not there yet."""

    def __init__(self, args: argparse.Namespace) -> None:
        import quantize
        from edge.data.dataset import LabelledImages
        from quantize.reference import reference_outputs

        self.args = args
        self.file = args.out / "rows.json"
        self.rows: dict[str, dict[str, Any]] = json.loads(self.file.read_text()) if self.file.exists() else {}
        labels = sorted(folder.name for folder in args.images.iterdir() if folder.is_dir())
        self.source = quantize.load(args.model, name=args.model.stem, preprocess="inception", labels=labels)
        photos = LabelledImages.open(args.images, labels=self.source.contract.outputs[0].labels)
        rest = dataclasses.replace(photos, items=tuple(item for i, item in enumerate(photos) if i % 10))
        self.validation = dataclasses.replace(photos, items=tuple(item for i, item in enumerate(photos) if i % 10 == 0))
        self.training = rest if args.photos is None else rest.subset(args.photos)
        self.reference = reference_outputs(self.source, args.test, args.out / "test.npz")
        self.representative = quantize.RepresentativeDataset.open(args.images, source=self.source, count=200)

    def run(self) -> None:
        """Make all rows, the most wanted first."""
        for scheme, per_channel in reversed(SCHEMES):
            name = f"QAT {scheme}, distilled"
            self._step(name, partial(self._trained, name, scheme, per_channel=per_channel, distilled=True))
        for scheme, per_channel in SCHEMES:
            self._step(f"converter {scheme}", partial(self._converter, scheme, per_channel))
        for scheme, per_channel in SCHEMES:
            name = f"QAT {scheme}"
            self._step(name, partial(self._trained, name, scheme, per_channel=per_channel, distilled=False))
        self._step("float, same epochs", self._control)

    def facts(self) -> dict[str, Any]:
        rows = {name: {key: value for key, value in found.items() if key != "file"} for name, found in self.rows.items()}
        return {"photos": len(self.training), "validation": len(self.validation), "rows": rows}

    def _step(self, name: str, make: Callable[[], None]) -> None:
        if name in self.rows:
            return
        started = time.monotonic()
        make()
        self.rows[name]["wall_s"] = round(time.monotonic() - started)
        self.file.write_text(json.dumps(self.rows, indent=1) + "\n")
        print(table(self.rows), flush=True)

    def _trained(self, name: str, scheme: str, *, per_channel: bool, distilled: bool) -> None:
        from quantize.qat.api import quantization_aware

        config = dataclasses.replace(self._config(), per_channel=per_channel, unlabelled=distilled)
        training = dataclasses.replace(self.training, items=_without_labels(self.training.items)) if distilled else self.training
        result = quantization_aware(self.source, training, self.validation, config, out=self.args.out / name.replace(" ", "-"))
        self.rows[f"PTQ {scheme}"] = self._against_float(result.ptq)
        facts = {"best_epoch": result.best_epoch, "parity": result.parity, "recommended": result.recommended.name}
        self.rows[name] = (
            self._against_float(result.trained) | facts | {"file": str(result.trained), "epochs": list(result.record)}
        )

    def _control(self) -> None:
        """The float network after the same epochs, and post-training quantization of it."""
        import edge
        from quantize import ptq
        from quantize.qat.control import FloatControl
        from quantize.reference import reference_outputs

        control = FloatControl(self.source, self.training, self._config())
        control.train(self.args.epochs)
        source = control.source()
        file = ptq.post_training(source, None, "float32").save(self.args.out / "control.float32.tflite")
        tuned = reference_outputs(source, self.args.test, self.args.out / "control.npz")
        for scheme, per_channel in SCHEMES:
            config = ptq.PtqConfig(per_channel=per_channel)
            made = ptq.post_training(source, self.representative, "int8", config=config)
            path = made.save(self.args.out / f"control-{scheme.replace(' ', '-')}.int8.tflite")
            self.rows[f"PTQ {scheme} of it"] = self._against_float(path) | {
                "against_control": row(edge.validate(path, self.args.test, reference=tuned).to_dict())
            }
            trained = self.rows[f"QAT {scheme}"]
            trained["against_control"] = row(edge.validate(trained["file"], self.args.test, reference=tuned).to_dict())
        self.rows["float, same epochs"] = self._against_float(file)

    def _converter(self, scheme: str, per_channel: bool) -> None:
        """Minimum and maximum as ranges and nothing else: what TensorFlow's converter makes."""
        from quantize import ptq

        config = ptq.PtqConfig(per_channel=per_channel, ranges="converter")
        made = ptq.post_training(self.source, self.representative, "int8", config=config)
        self.rows[f"converter {scheme}"] = self._against_float(
            made.save(self.args.out / f"converter-{scheme.replace(' ', '-')}.int8.tflite")
        )

    def _config(self) -> Any:
        from quantize.qat.api import QatConfig

        args = self.args
        return QatConfig(epochs=args.epochs, learning_rate=args.learning_rate, batch_size=args.batch, patience=args.epochs)

    def _against_float(self, path: Path) -> dict[str, Any]:
        import edge

        return row(edge.validate(path, self.args.test, reference=self.reference).to_dict())


def _without_labels(items: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(dataclasses.replace(item, label=None) for item in items)


def row(report: dict[str, Any]) -> dict[str, Any]:
    """Return what the table shows of a validation report. Shares are fractions; a drop is reference minus candidate."""
    drop = report["drop"]
    return {
        "images": report["images"],
        "reference_top1": report["reference"]["top1"],
        "top1": report["candidate"]["top1"],
        "drop": drop["top1"],
        "ci95": drop["ci95"],
        "flips": drop["flips_lost"] + drop["flips_won"],
        "agreement": report["agreement"],
        "probability_shift": report["probability_shift"],
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return the rows as text."""
    lines = [f"{'':26}{'top-1':>8}{'drop (95 % interval), points':>32}{'flips':>7}{'agreement':>11}{'shift':>9}"]
    for name, found in rows.items():
        low, high = found["ci95"]
        drop = f"{100 * found['drop']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
        counts = f"{found['flips']:7}{found['agreement']:11.1%}{found['probability_shift']:9.4f}"
        lines.append(f"{name:26}{found['top1']:8.1%}{drop:>32}{counts}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
