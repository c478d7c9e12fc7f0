"""Ways to a smaller network side by side, on the same photos and for the same minutes, each as an int8 file on unseen photos.

    python benchmarks/shrink.py flowers.keras --images train/ --test test/ --speedups 2,3 --minutes 40

For each speedup: (a) ``edgekit shrink``; (b) the same ranking in one shot, neither repaired nor trained; (c) every convolution narrowed by
the same share, its filters of the least L1 norm gone, trained for as many minutes as (a) took altogether; (e) the same network at a
smaller input, trained as (c). Once: (d) MobileNetV2 and EfficientNet-B0 from scratch with labels, and by distillation from the original,
for the same minutes.

Everything is paired against the original in float; (a) against each other row too. Milliseconds are of one thread, in turns with the
original's int8 file. Each row is kept in ``OUT/rows.json`` as soon as it is there, and a second run goes on from there. ``--rows a,b``
makes these only. Prints a table and appends it to ``benchmarks/results/shrink.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from record import append

BOARDS = ("pi-4b", "pi-5")
KINDS = "abcde"
_BATCH = 32


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=Path, required=True, help="class folders")
    parser.add_argument("--test", type=Path, required=True, help="class folders; seen by nothing but the verdict")
    parser.add_argument("--preprocess", default="inception")
    parser.add_argument("--speedups", default="2,3")
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--rows", default=",".join(KINDS), help="which of a,b,c,d,e (default: all)")
    parser.add_argument("--steps", type=int, help="of each training, at most: to try this out")
    parser.add_argument("--out", type=Path, default=Path("out-shrink"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(args)
    comparison.run()
    print(table(comparison.rows))
    rows = {name: {key: value for key, value in found.items() if key != "answers"} for name, found in comparison.rows.items()}
    append("shrink", {"model": args.model.name, "minutes": args.minutes, "steps": args.steps, "rows": rows})
    return 0


class Comparison:
    """``rows`` by name: what is known so far. Each step makes the rows that are not there yet."""

    def __init__(self, args: argparse.Namespace) -> None:
        import quantize
        from edge.data.dataset import LabelledImages
        from quantize.shrinking import networks, pictures
        from quantize.shrinking.answers import Judge
        from quantize.shrinking.config import ShrinkConfig
        from quantize.shrinking.cost import Law
        from quantize.shrinking.making import Workshop

        self.args = args
        self.wanted = args.rows.split(",")
        self.file = args.out / "rows.json"
        self.rows: dict[str, dict[str, Any]] = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.labels = sorted(folder.name for folder in args.images.iterdir() if folder.is_dir())
        self.source = quantize.load(args.model, name=args.model.stem, preprocess=args.preprocess, labels=self.labels)
        self.test = LabelledImages.open(args.test, labels=self.labels)
        self.config = ShrinkConfig(minutes=args.minutes, steps=args.steps, max_drop=0.01)
        photos = LabelledImages.open(args.images, labels=self.labels)
        self.parts = pictures.divide(photos)
        answers = networks.answers(self.source, pictures.batches(self.parts.choice, self.source.contract, _BATCH))
        self.judge = Judge.of(self.source.contract.outputs, answers)
        self.workshop = Workshop(self.source, self.parts, self.judge, self.config, args.out, None)
        self.law = Law.of(None)
        self.expected = networks.answers(self.source, pictures.batches(self.test, self.source.contract, _BATCH))

    def run(self) -> None:
        """Make all rows that are wanted, (a) first: the others go by its depth and its time."""
        self._step("original", lambda: self._row(self.source))
        for speedup in map(float, self.args.speedups.split(",")):
            self._step(f"a {speedup:g}x: edgekit shrink", partial(self._ours, speedup))
            self._step(f"b {speedup:g}x: one shot", partial(self._one_shot, speedup))
            self._step(f"c {speedup:g}x: uniform by magnitude", partial(self._uniform, speedup))
            self._step(f"e {speedup:g}x: smaller input", partial(self._smaller_input, speedup))
        for name in ("MobileNetV2", "EfficientNetB0"):
            for distilled in (False, True):
                how = "distilled" if distilled else "from scratch"
                self._step(f"d {name} {how}", partial(self._another, name, distilled))
        self._against_ours()

    def _step(self, name: str, make: Callable[[], dict[str, Any] | None]) -> None:
        if name in self.rows or (name != "original" and name[0] not in self.wanted):
            return
        started = time.monotonic()
        made = make()
        if made is None:
            print(f"{name}: cannot be made", flush=True)
            return
        self.rows[name] = made | {"wall_s": round(time.monotonic() - started)}
        self.file.write_text(json.dumps(self.rows, indent=1) + "\n")
        print(table(self.rows), flush=True)

    def _ours(self, speedup: float) -> dict[str, Any]:
        import quantize

        out = self.args.out / f"ours-{speedup:g}"
        config = dataclasses.replace(self.config, speedup=speedup)
        resume = (out / f"{self.source.name}.shrunk" / "search.json").exists()
        result = quantize.shrink(self.source, self.args.images, self.args.test, config, out=out, resume=resume)
        report = result.report
        facts = {"cut": report["shrunk"]["cut"], "training_s": report["training"]["seconds"], "ranking": report["ranking"]}
        return self._measured(result.int8.read_bytes(), self.source.contract, report["shrunk"]["macs"]) | facts

    def _one_shot(self, speedup: float) -> dict[str, Any] | None:
        """As many blocks, in the order of the ranking before anything was removed, as it takes to be as fast as (a) by the law."""
        from quantize.shrinking import cost, networks, surgery
        from quantize.shrinking.cost import layers, total
        from quantize.shrinking.structure import look
        from quantize.shrinking.surgery import Cut

        ours = self._ours_row(speedup)
        structure, costs = look(self.source.model), layers(self.source.model)
        ms = cost.block_ms(structure.blocks, costs, self.law)
        need = total(costs, self.law) * (1 - ours["ms"] / self.rows["original"]["ms"])
        gone: list[str] = []
        for removal in ours["ranking"]:
            if sum(ms[name] for name in gone) >= need:
                break
            gone.append(removal["block"])
        return self._row(networks.with_model(self.source, surgery.apply(self.source.model, Cut(blocks=frozenset(gone)))))

    def _uniform(self, speedup: float) -> dict[str, Any] | None:
        from quantize.shrinking.structure import look

        groups = look(self.source.model).channels
        if not groups:
            return None
        share = self._search(lambda share: self._narrow(groups, share), speedup)
        return None if share is None else self._trained_row(self._narrow(groups, share), speedup)

    def _smaller_input(self, speedup: float) -> dict[str, Any] | None:
        from quantize.errors import ConversionError
        from quantize.shrinking.surgery import Cut

        height, width, _ = self.source.input_shape
        aim = self.rows["original"]["ms"] / self._ours_row(speedup)["ms"]
        best = None
        for size in range(height - 1, 31, -1):
            cut = Cut(size=(size, round(size * width / height)))
            try:
                if (size - height) % 8 == 0 and self._law_speedup(cut) >= aim:
                    best = cut
                    break
            except ConversionError:
                break
        return None if best is None else self._trained_row(best, speedup)

    def _narrow(self, groups: Any, share: float) -> Any:
        from quantize.shrinking.channels import MULTIPLE
        from quantize.shrinking.flat import flat
        from quantize.shrinking.surgery import Cut

        steps = {step.path: step.layer for step in flat(self.source.model).steps}
        kept = {}
        for group in groups:
            norms = np.abs(np.asarray(steps[group.name].kernel)).reshape(-1, group.count).sum(axis=0)
            left = min(group.count, max(MULTIPLE, MULTIPLE * round((1 - share) * group.count / MULTIPLE)))
            if left < group.count:
                kept[group.name] = tuple(sorted(int(i) for i in np.argsort(-norms)[:left]))
        return Cut(kept=kept)

    def _search(self, cut_of: Callable[[float], Any], speedup: float) -> float | None:
        """Return the least share that is as fast as (a) by the law, None where none is."""
        aim = self.rows["original"]["ms"] / self._ours_row(speedup)["ms"]
        return next((share for share in np.arange(0.05, 0.96, 0.05) if self._law_speedup(cut_of(float(share))) >= aim), None)

    def _law_speedup(self, cut: Any) -> float:
        from quantize.shrinking import surgery
        from quantize.shrinking.cost import layers, total

        smaller = surgery.apply(self.source.model, cut)
        return total(layers(self.source.model), self.law) / total(layers(smaller), self.law)

    def _trained_row(self, cut: Any, speedup: float) -> dict[str, Any]:
        """Train without the repair in closed form, for as long as (a) took with its search."""
        from quantize.shrinking import networks, surgery
        from quantize.shrinking.distil import Mimicry

        shrunk = networks.with_model(self.source, surgery.apply(self.source.model, cut))
        folder = self.args.out / f"state-{speedup:g}-{'e' if cut.size else 'c'}"
        parts = self.parts
        mimicry = Mimicry(
            self.source, shrunk, parts.learning, parts.choice, self.judge, self.config, folder, {"minutes": self.args.minutes}
        )
        mimicry.resume()
        mimicry.train(self._ours_row(speedup)["wall_s"])
        return self._row(shrunk) | {"training_s": round(mimicry.seconds)}

    def _another(self, name: str, distilled: bool) -> dict[str, Any]:
        """Train a network that people use instead for the same minutes: with labels, or with the original's answers."""
        import keras
        import tensorflow as tf

        from quantize.qat.data import TrainingImages
        from quantize.shrinking import networks

        keras.utils.set_random_seed(0)
        height, width, channels = self.source.input_shape
        image = keras.Input((height, width, channels))
        pixels = keras.layers.Rescaling(127.5, offset=127.5)(image) if name == "EfficientNetB0" else image
        inner = getattr(keras.applications, name)(weights=None, classes=len(self.labels), input_shape=(height, width, channels))
        spec = self.source.contract.outputs[0]
        answer = keras.layers.Identity(name=spec.name)(inner(pixels))
        model = keras.Model(image, answer)
        optimizer = keras.optimizers.Adam(1e-3)
        truth = {spec.name: self.parts.learning.label_ids()}
        images = TrainingImages(
            images=self.parts.learning, contract=self.source.contract, truth=truth, augment=self.config.augment, seed=0
        )
        variables = [variable.value for variable in model.trainable_variables]
        optimizer.build(model.trainable_variables)

        @tf.function(autograph=False, reduce_retracing=True)
        def step(photos: Any, labels: Any) -> Any:
            expected = self.source.function(photos) if distilled else None
            with tf.GradientTape() as tape:
                found = model(photos, training=True)
                if expected is not None:
                    loss = tf.reduce_mean(self.judge.divergence({spec.name: found}, expected))
                else:
                    loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, found))
            optimizer.apply(tape.gradient(loss, variables), model.trainable_variables)
            return loss

        seconds, started, done, epoch = 60 * self.args.minutes, time.monotonic(), 0, 0
        over = False
        while not over:
            for photos, labels, _ in images.stream(epoch, 16):
                share = max((time.monotonic() - started) / seconds, done / (self.args.steps or math.inf))
                over = share >= 1.0
                if over:
                    break
                optimizer.learning_rate.assign(1e-3 * min(1.0, 50 * share + 1e-2) * 0.5 * (1 + math.cos(math.pi * share)))
                step(tf.constant(photos), tf.constant(labels[spec.name]))
                done += 1
            epoch += 1
        source = networks.with_model(self.source, model)
        return self._row(source) | {"training_s": round(time.monotonic() - started), "steps": done}

    def _row(self, network: Any) -> dict[str, Any]:
        """Make the int8 file of a float network as the product does, and measure it."""
        from quantize import ptq
        from quantize.calibrate.representative import RepresentativeDataset
        from quantize.shrinking.cost import layers, macs

        representative = RepresentativeDataset.from_folder(self.workshop.listing, count=200, contract=network.contract)
        made = ptq.post_training(network, representative, "int8")
        return self._measured(made.data, network.contract, macs(layers(network.model)))

    def _measured(self, data: bytes, contract: Any, macs: int) -> dict[str, Any]:
        from devices.boards import profiles
        from edge.artefact import container
        from edge.runtime.classify import best_ids
        from quantize.analyse import tune
        from quantize.calibrate import activations
        from quantize.shrinking import pictures, verdict

        path = self.args.out / "measured.tflite"
        path.write_bytes(data)
        opened = container.read(path)
        own = opened.contract or contract
        found = activations.run(data, pictures.batches(self.test, own, 1))
        (spec,) = self.source.contract.outputs
        answers = {spec.name: np.stack([row[spec.name] for row in found])}
        judged = verdict.judge(self.source.contract, self.test, self.expected, answers, max_drop=self.config.max_drop)
        low, high = judged.interval or (0.0, 0.0)
        return {
            "macs": macs,
            "bytes": len(opened.flatbuffer()),
            "ms": self.workshop.ms_of(data),
            **{board: tune.predictor(profiles.board(board, ()))(data) for board in BOARDS},
            "top1": judged.shrunk,
            "drop": judged.drop,
            "interval": [low, high],
            "confidence": judged.confidence,
            "answers": [int(best_ids(row, spec)[0]) for row in answers[spec.name]],
        }

    def _ours_row(self, speedup: float) -> dict[str, Any]:
        row = self.rows.get(f"a {speedup:g}x: edgekit shrink")
        if row is None:
            raise SystemExit(f"row a of {speedup:g}x first: the others go by its depth and its time")
        return row

    def _against_ours(self) -> None:
        """Pair (a) of each speedup with each other row: how much the other loses against it."""
        from edge.numbers import statistics

        truth = self.test.label_ids()
        for ours_name, ours in self.rows.items():
            for name, row in self.rows.items():
                if ours_name[0] == "a" and name != ours_name:
                    right, other = (np.array(each["answers"]) == truth for each in (ours, row))
                    lost, won = int(np.sum(right & ~other)), int(np.sum(~right & other))
                    interval = statistics.paired_interval(lost, won, len(truth))
                    row.setdefault("against", {})[ours_name] = {"loses": (lost - won) / len(truth), "interval": list(interval)}
        self.file.write_text(json.dumps(self.rows, indent=1) + "\n")


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return the rows as text."""
    lines = [
        f"{'':34}{'top-1':>8}{'drop':>8}{'interval':>18}{'MMAC':>8}{'MiB':>7}{'ms':>8}{'x':>6}"
        + "".join(f"{b:>8}" for b in BOARDS)
    ]
    first = rows["original"]["ms"]
    for name, row in rows.items():
        low, high = (100 * end for end in row["interval"])
        lines.append(
            f"{name:34}{100 * row['top1']:8.2f}{100 * row['drop']:+8.2f}{f'{low:+.2f} to {high:+.2f}':>18}{row['macs'] / 1e6:8.0f}"
            f"{row['bytes'] / 2**20:7.2f}{row['ms']:8.2f}{first / row['ms']:6.2f}"
            + "".join(f"{row[board]:8.1f}" for board in BOARDS)
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
