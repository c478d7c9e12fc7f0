"""Small op lists that each have one property which the compiler rejects."""

from __future__ import annotations

from collections.abc import Callable

from devices.op_list import Network, Op, Operand


class Builder:
    """Makes small networks: each op reads what was written before."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.count = 0

    def tensor(self, *shape: int, dtype: str = "int8", constant: bool = False, values: tuple[int, ...] | None = None) -> Operand:
        self.count += 1
        return Operand(
            index=self.count,
            name=f"t{self.count}",
            shape=shape,
            dtype=dtype,
            is_constant=constant,
            is_quantized=dtype == "int8",
            is_open=False,
            values=values,
            is_zero=None,
        )

    def op(self, name: str, inputs: list[Operand | None], *outputs: Operand, version: int = 2, **options: int) -> Operand:
        self.ops.append(
            Op(
                index=len(self.ops),
                name=name,
                version=version,
                inputs=tuple(inputs),
                outputs=outputs,
                options=options,
                is_custom=not name.isupper(),
                macs=0,
            )
        )
        return outputs[0]

    def conv(self, image: Operand, channels: int = 8, *, version: int = 3, **options: int) -> Operand:
        weights = self.tensor(channels, 3, 3, image.shape[-1], constant=True)
        bias = self.tensor(channels, dtype="int32", constant=True)
        return self.op("CONV_2D", [image, weights, bias], self.tensor(*image.shape[:-1], channels), version=version, **options)

    def network(self, *outputs: Operand) -> Network:
        written = {operand.index for op in self.ops for operand in op.outputs}
        fed = {operand.index: operand for op in self.ops for operand in op.activations if operand.index not in written}
        return Network(ops=tuple(self.ops), inputs=tuple(fed.values()), outputs=outputs, file_bytes=1000)


Make = Callable[[Builder], Operand]


def after_conv(name: str, *shape: int, constants: list[tuple[int, ...]] | None = None, version: int = 2, **options: int) -> Make:
    """conv -> the op under test -> conv: what it rejects strands the last one."""

    def make(b: Builder) -> Operand:
        image = b.conv(b.tensor(1, 8, 8, 4))
        extra: list[Operand | None] = [b.tensor(len(v), dtype="int32", constant=True, values=v) for v in constants or []]
        result = b.op(name, [image, *extra], b.tensor(*shape), version=version, **options)
        return b.conv(result) if len(shape) == 4 else result

    return make


def small(b: Builder) -> Network:
    return b.network(b.conv(b.conv(b.tensor(1, 8, 8, 4))))
