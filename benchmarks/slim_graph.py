"""TF-slim's Inception-ResNet-v2 with its own names, shapes and ops, and random weights: for when the published file is not at hand.

    python benchmarks/slim_graph.py inception_resnet_v2.pb                 a frozen graph, cut at the auxiliary head (121 MB)
    python benchmarks/slim_graph.py full.pb --full                         the whole network, both heads
    python benchmarks/slim_graph.py model.ckpt --size 155x139 --thinner 8    a checkpoint and its meta graph, an eighth as wide

The definition follows the paper (Szegedy, Ioffe, Vanhoucke, Alemi: arXiv 1602.07261) and the names that the published checkpoints
and graphs have. It shares nothing with ``quantize``, so that what is imported can be compared with it.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

EPSILON = 0.001
AUXILIARY = "InceptionResnetV2/AuxLogits/Logits/BiasAdd"
LOGITS = "InceptionResnetV2/Logits/Logits/BiasAdd"
PREDICTIONS = "InceptionResnetV2/Logits/Predictions"
FUSED, PLAIN, FOLDED = "fused", "plain", "folded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """``thinner`` divides the number of filters; ``blocks`` are of Repeat, Repeat_1 and Repeat_2. The defaults are the published.

    ``batch_norm``: ``fused`` (FusedBatchNorm), ``plain`` (spelled out in multiplications), or ``folded`` into weights and biases.
    ``scales``: of the residual blocks; another than the published makes a graph that must not pass for the network.
    """

    height: int = 299
    width: int = 299
    classes: int = 1001
    thinner: int = 1
    blocks: tuple[int, int, int] = (10, 20, 9)
    scales: tuple[float, float, float] = (0.17, 0.10, 0.20)
    batch_norm: str = FUSED
    full: bool = False
    seed: int = 0


def build(recipe: Recipe) -> Any:
    """Return the tf.Graph."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        shape = (None, recipe.height, recipe.width, 3)
        image = tf.compat.v1.placeholder(tf.float32, shape, name="input")
        _Network(tf, recipe).build(image)
    return graph


def write_frozen(recipe: Recipe, path: Path, outputs: tuple[str, ...] | None = None) -> None:
    """Write the graph with its variables as constants, cut at the outputs."""
    outputs = outputs or ((PREDICTIONS, AUXILIARY) if recipe.full else (AUXILIARY,))
    path.write_bytes(frozen(recipe, outputs).SerializeToString())


def frozen(recipe: Recipe, outputs: tuple[str, ...]) -> Any:
    """Return the GraphDef with its variables as constants."""
    import tensorflow as tf

    with tf.compat.v1.Session(graph=build(recipe)) as session:
        _initialize(tf, session, recipe)
        return tf.compat.v1.graph_util.convert_variables_to_constants(session, session.graph_def, list(outputs))


def write_checkpoint(recipe: Recipe, prefix: Path, *, version: int = 2) -> None:
    """Write a checkpoint (version 1: one file, as the published archive has it; version 2: index and data) and PREFIX.meta."""
    import tensorflow as tf

    with tf.compat.v1.Session(graph=build(recipe)) as session:
        with session.graph.as_default():
            saver = tf.compat.v1.train.Saver(write_version=version)
        _initialize(tf, session, recipe)
        saver.save(session, str(prefix), write_state=False)


def _initialize(tf: Any, session: Any, recipe: Recipe) -> None:
    for variable in session.graph.get_collection(tf.compat.v1.GraphKeys.GLOBAL_VARIABLES):
        variable.load(value(variable.op.name, tuple(variable.shape), recipe), session)


def value(name: str, shape: tuple[int, ...], recipe: Recipe) -> np.ndarray:
    """Return a variable's value: drawn anew for each name, so that every form of the network has the same ones."""
    draw = np.random.default_rng([recipe.seed, zlib.crc32(name.encode())])
    scope, kind = name.rsplit("/", 1)
    if kind == "weights" and recipe.batch_norm == FOLDED and not scope.endswith("Logits") and not _is_up(scope):
        return np.asarray(_kernel(draw, shape) * _folded(scope, shape[-1], recipe)[0], np.float32)
    if kind == "biases" and recipe.batch_norm == FOLDED and not scope.endswith("Logits") and not _is_up(scope):
        return np.asarray(_folded(scope, shape[-1], recipe)[1], np.float32)
    made: dict[str, Callable[[], np.ndarray]] = {
        "weights": lambda: _kernel(draw, shape),
        "biases": lambda: draw.normal(0, 0.05, shape),
        "beta": lambda: draw.normal(0, 0.1, shape),
        "moving_mean": lambda: draw.normal(0, 0.1, shape),
        "moving_variance": lambda: draw.uniform(0.6, 1.4, shape),
        "global_step": lambda: np.zeros(shape),
    }
    return np.asarray(made[kind](), np.float32)


def _kernel(draw: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """He's normal distribution, which keeps the activations' size through a deep network."""
    return draw.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape).astype(np.float32)


def _folded(scope: str, filters: int, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Return (factor, bias) of the batch normalisation that the same scope has in the other forms."""
    plain = Recipe(seed=recipe.seed)
    beta, mean, variance = (
        value(f"{scope}/BatchNorm/{kind}", (filters,), plain).astype(np.float64)
        for kind in ("beta", "moving_mean", "moving_variance")
    )
    factor = 1 / np.sqrt(variance + EPSILON)
    return factor, beta - mean * factor


def _is_up(scope: str) -> bool:
    """Whether this is the convolution at the end of a residual block: with biases, without batch normalisation."""
    parts = scope.split("/")
    return parts[-1] == "Conv2d_1x1" and parts[-2].lower().startswith("block")


class _Network:
    def __init__(self, tf: Any, recipe: Recipe) -> None:
        self.tf, self.v1, self.recipe = tf, tf.compat.v1, recipe

    def build(self, image: Any) -> None:
        v1 = self.v1
        with v1.variable_scope("InceptionResnetV2") as scope:
            # slim enters the scope a second time: the ops' names have it twice, the variables' once.
            with v1.variable_scope(scope):
                net = self._stem(image)
                net = self._mixed_5b(net)
                net = self._repeat(net, "Repeat", self.recipe.blocks[0], self._block35, self.recipe.scales[0])
                net = self._mixed_6a(net)
                net = self._repeat(net, "Repeat_1", self.recipe.blocks[1], self._block17, self.recipe.scales[1])
                auxiliary = net
                if self.recipe.full:
                    net = self._mixed_7a(net)
                    net = self._repeat(net, "Repeat_2", self.recipe.blocks[2], self._block8, self.recipe.scales[2])
                    with v1.variable_scope("Block8"):
                        net = self._block8(net, 1.0, last=True)
                    net = self._conv(net, 1536, 1, "Conv2d_7b_1x1")
            with v1.variable_scope("AuxLogits"):
                aux = self._pool(auxiliary, "avg", 5, 3, "VALID", "Conv2d_1a_3x3")
                aux = self._conv(aux, 128, 1, "Conv2d_1b_1x1")
                aux = self._conv(aux, 768, tuple(aux.shape[1:3]), "Conv2d_2a_5x5", padding="VALID")
                self._dense(self._flatten(aux, "Flatten"))
            if self.recipe.full:
                with v1.variable_scope("Logits"):
                    net = self._pool(net, "avg", tuple(net.shape[1:3]), 2, "VALID", "AvgPool_1a_8x8")
                    net = self._flatten(net, "Flatten")
                    net = self.tf.identity(net, name="Dropout/Identity")
                    self.tf.nn.softmax(self._dense(net), name="Predictions")

    def _stem(self, net: Any) -> Any:
        net = self._conv(net, 32, 3, "Conv2d_1a_3x3", 2, "VALID")
        net = self._conv(net, 32, 3, "Conv2d_2a_3x3", padding="VALID")
        net = self._conv(net, 64, 3, "Conv2d_2b_3x3")
        net = self._pool(net, "max", 3, 2, "VALID", "MaxPool_3a_3x3")
        net = self._conv(net, 80, 1, "Conv2d_3b_1x1", padding="VALID")
        net = self._conv(net, 192, 3, "Conv2d_4a_3x3", padding="VALID")
        return self._pool(net, "max", 3, 2, "VALID", "MaxPool_5a_3x3")

    def _mixed_5b(self, net: Any) -> Any:
        with self.v1.variable_scope("Mixed_5b"):
            first = self._branch(net, 0, (96, 1, "Conv2d_1x1"))
            second = self._branch(net, 1, (48, 1, "Conv2d_0a_1x1"), (64, 5, "Conv2d_0b_5x5"))
            third = self._branch(net, 2, (64, 1, "Conv2d_0a_1x1"), (96, 3, "Conv2d_0b_3x3"), (96, 3, "Conv2d_0c_3x3"))
            with self.v1.variable_scope("Branch_3"):
                pooled = self._pool(net, "avg", 3, 1, "SAME", "AvgPool_0a_3x3")
                fourth = self._conv(pooled, 64, 1, "Conv2d_0b_1x1")
            return self.tf.concat([first, second, third, fourth], 3, name="concat")

    def _mixed_6a(self, net: Any) -> Any:
        with self.v1.variable_scope("Mixed_6a"):
            first = self._branch(net, 0, (384, 3, "Conv2d_1a_3x3", 2, "VALID"))
            second = self._branch(
                net, 1, (256, 1, "Conv2d_0a_1x1"), (256, 3, "Conv2d_0b_3x3"), (384, 3, "Conv2d_1a_3x3", 2, "VALID")
            )
            with self.v1.variable_scope("Branch_2"):
                third = self._pool(net, "max", 3, 2, "VALID", "MaxPool_1a_3x3")
            return self.tf.concat([first, second, third], 3, name="concat")

    def _mixed_7a(self, net: Any) -> Any:
        with self.v1.variable_scope("Mixed_7a"):
            first = self._branch(net, 0, (256, 1, "Conv2d_0a_1x1"), (384, 3, "Conv2d_1a_3x3", 2, "VALID"))
            second = self._branch(net, 1, (256, 1, "Conv2d_0a_1x1"), (288, 3, "Conv2d_1a_3x3", 2, "VALID"))
            third = self._branch(
                net, 2, (256, 1, "Conv2d_0a_1x1"), (288, 3, "Conv2d_0b_3x3"), (320, 3, "Conv2d_1a_3x3", 2, "VALID")
            )
            with self.v1.variable_scope("Branch_3"):
                fourth = self._pool(net, "max", 3, 2, "VALID", "MaxPool_1a_3x3")
            return self.tf.concat([first, second, third, fourth], 3, name="concat")

    def _repeat(self, net: Any, name: str, count: int, block: Callable[[Any, float], Any], scale: float) -> Any:
        with self.v1.variable_scope(name):
            for i in range(count):
                with self.v1.variable_scope(f"{block.__name__.strip('_')}_{i + 1}"):
                    net = block(net, scale)
        return net

    def _block35(self, net: Any, scale: float) -> Any:
        first = self._branch(net, 0, (32, 1, "Conv2d_1x1"))
        second = self._branch(net, 1, (32, 1, "Conv2d_0a_1x1"), (32, 3, "Conv2d_0b_3x3"))
        third = self._branch(net, 2, (32, 1, "Conv2d_0a_1x1"), (48, 3, "Conv2d_0b_3x3"), (64, 3, "Conv2d_0c_3x3"))
        return self._residual(net, [first, second, third], scale)

    def _block17(self, net: Any, scale: float) -> Any:
        first = self._branch(net, 0, (192, 1, "Conv2d_1x1"))
        second = self._branch(net, 1, (128, 1, "Conv2d_0a_1x1"), (160, (1, 7), "Conv2d_0b_1x7"), (192, (7, 1), "Conv2d_0c_7x1"))
        return self._residual(net, [first, second], scale)

    def _block8(self, net: Any, scale: float, *, last: bool = False) -> Any:
        first = self._branch(net, 0, (192, 1, "Conv2d_1x1"))
        second = self._branch(net, 1, (192, 1, "Conv2d_0a_1x1"), (224, (1, 3), "Conv2d_0b_1x3"), (256, (3, 1), "Conv2d_0c_3x1"))
        return self._residual(net, [first, second], scale, activate=not last)

    def _residual(self, net: Any, branches: list[Any], scale: float, *, activate: bool = True) -> Any:
        mixed = self.tf.concat(branches, 3, name="concat")
        up = self._conv(mixed, int(net.shape[3]), 1, "Conv2d_1x1", linear=True)
        net = self.v1.add(net, self.tf.multiply(np.float32(scale), up, name="mul"), name="add")
        return self.tf.nn.relu(net, name="Relu") if activate else net

    def _branch(self, net: Any, index: int, *convolutions: Any) -> Any:
        with self.v1.variable_scope(f"Branch_{index}"):
            for filters, kernel, name, *rest in convolutions:
                net = self._conv(net, filters, kernel, name, *rest)
        return net

    def _conv(
        self, net: Any, filters: int, kernel: Any, name: str, stride: int = 1, padding: str = "SAME", *, linear: bool = False
    ) -> Any:
        height, width = (kernel, kernel) if isinstance(kernel, int) else (int(size) for size in kernel)
        if not linear:
            filters = max(1, filters // self.recipe.thinner)
        with self.v1.variable_scope(name):
            weights = self._variable("weights", (height, width, int(net.shape[3]), filters))
            net = self.tf.nn.conv2d(net, weights, stride, padding, name="Conv2D")
            if linear:
                return self.tf.nn.bias_add(net, self._variable("biases", (filters,)), name="BiasAdd")
            return self.tf.nn.relu(self._batch_norm(net, filters), name="Relu")

    def _batch_norm(self, net: Any, filters: int) -> Any:
        if self.recipe.batch_norm == FOLDED:
            return self.tf.nn.bias_add(net, self._variable("biases", (filters,)), name="BiasAdd")
        with self.v1.variable_scope("BatchNorm"):
            beta, mean, variance = (
                self._variable(name, (filters,), trainable=name == "beta") for name in ("beta", "moving_mean", "moving_variance")
            )
            if self.recipe.batch_norm == PLAIN:
                return self.tf.nn.batch_normalization(net, mean, variance, beta, None, EPSILON, name="batchnorm")
            ones = self.tf.ones((filters,), name="Const")
            return self.v1.nn.fused_batch_norm(
                net, ones, beta, mean, variance, epsilon=EPSILON, is_training=False, name="FusedBatchNorm"
            )[0]

    def _pool(self, net: Any, kind: str, kernel: Any, stride: int, padding: str, name: str) -> Any:
        with self.v1.variable_scope(name):
            pool = self.tf.nn.max_pool2d if kind == "max" else self.tf.nn.avg_pool2d
            return pool(net, kernel, stride, padding, name="MaxPool" if kind == "max" else "AvgPool")

    def _flatten(self, net: Any, name: str) -> Any:
        with self.v1.variable_scope(name):
            return self.tf.reshape(net, (self.tf.shape(net)[0], int(np.prod(net.shape[1:]))), name="flatten/Reshape")

    def _dense(self, net: Any) -> Any:
        with self.v1.variable_scope("Logits"):
            weights = self._variable("weights", (int(net.shape[1]), self.recipe.classes))
            biases = self._variable("biases", (self.recipe.classes,))
            return self.tf.nn.bias_add(self.tf.matmul(net, weights, name="MatMul"), biases, name="BiasAdd")

    def _variable(self, name: str, shape: tuple[int, ...], *, trainable: bool = True) -> Any:
        zeros = self.v1.zeros_initializer()
        return self.v1.get_variable(name, shape, self.tf.float32, zeros, trainable=trainable, use_resource=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a .pb, or the prefix of a checkpoint (.ckpt)")
    parser.add_argument("--full", action="store_true", help="the whole network, not only up to the auxiliary head")
    parser.add_argument("--size", default="299x299", metavar="HxW")
    parser.add_argument("--thinner", type=int, default=1, metavar="N", help="an Nth of the filters")
    parser.add_argument("--batch-norm", choices=(FUSED, PLAIN, FOLDED), default=FUSED)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    height, width = (int(part) for part in args.size.split("x"))
    recipe = Recipe(height=height, width=width, thinner=args.thinner, full=args.full, batch_norm=args.batch_norm, seed=args.seed)
    if args.out.suffix == ".pb":
        write_frozen(recipe, args.out)
    else:
        write_checkpoint(recipe, args.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
