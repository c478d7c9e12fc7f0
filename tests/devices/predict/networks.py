"""Op lists made here, and the boards that they are predicted for."""

from __future__ import annotations

from devices.boards import profiles
from devices.op_list import Network, Op, Operand


def chain(*layers: tuple[int, int], side: int = 17, dtype: str = "int8", kernel: int = 1) -> Network:
    """Convolutions of ``(inputs, outputs)`` channels on ``side`` x ``side`` pixels."""
    numbers = iter(range(1000))

    def operand(shape: tuple[int, ...], constant: bool) -> Operand:
        index = next(numbers)
        return Operand(
            index=index,
            name=f"t{index}",
            shape=shape,
            dtype=dtype,
            is_constant=constant,
            is_quantized=dtype == "int8",
            is_open=False,
            values=None,
            is_zero=None,
        )

    image = operand((1, side, side, layers[0][0]), False)
    first, ops = image, []
    for index, (inputs, outputs) in enumerate(layers):
        result = operand((1, side, side, outputs), False)
        weights = operand((outputs, kernel, kernel, inputs), True)
        macs = side * side * kernel * kernel * inputs * outputs
        ops.append(
            Op(
                index=index,
                name="CONV_2D",
                version=3 if dtype == "int8" else 1,
                inputs=(image, weights, None),
                outputs=(result,),
                options={},
                is_custom=False,
                macs=macs,
            )
        )
        image = result
    weight_bytes = sum(op.constants[0].bytes for op in ops)
    return Network(ops=tuple(ops), inputs=(first,), outputs=(image,), file_bytes=weight_bytes)


SMALL = chain((64, 128), (128, 64))
LARGE = chain(*[(2048, 2048)] * 12)  # 48 MiB of int8 weights
FLOAT = chain(*[(2048, 2048)] * 12, dtype="float32")
PI_4, PI_3, ZERO = (profiles.board(name) for name in ("pi-4b", "pi-3b-plus", "pi-zero-2w"))
USB = profiles.accelerator("coral-usb")
