"""Vectors of eight lanes inside numba kernels.

numba leaves vectorising to LLVM, which must prove at run time that the arrays of a loop do not overlap; with the
many short rows of a pruning kernel it mostly gives up. These intrinsics say the vectors outright: a value of eight
lanes, loads and stores at an offset of a flat array, and lane-wise arithmetic. LLVM maps them to whatever the
processor has (one AVX-512 register, two AVX2, four SSE2 or NEON).

With the JIT disabled (NUMBA_DISABLE_JIT=1) the same names are plain functions over numpy arrays of length eight, so
that the kernels can be run and debugged as ordinary Python.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numba
import numpy as np

LANES = 8
LOG_TWO = float(np.log(2.0))
# Products may be contracted; infinities and NaN keep their meaning, and sums their order (accelerate.py).
FLAGS = ("contract", "nsz")

if getattr(numba.config, "DISABLE_JIT", 0):

    def keep_whole() -> None:
        """Called in a kernel: it is compiled once, and not anew within each caller, where sums may be put in another order."""

    def vload(array: Any, offset: Any) -> Any:
        """Eight lanes of a flat array from `offset`."""
        return array[int(offset) : int(offset) + LANES].copy()

    def vstore(array: Any, offset: Any, value: Any) -> None:
        """Write eight lanes to a flat array at `offset`."""
        array[int(offset) : int(offset) + LANES] = value

    def splat(x: float) -> Any:
        """All lanes equal to x."""
        return np.full(LANES, x)

    def vsum(x: Any) -> float:
        """Sum of the lanes."""
        return float(np.sum(x))

    def vsums(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
        """The vsum of each of eight vectors, the lanes of one."""
        return np.array([vsum(x) for x in (a, b, c, d, e, f, g, h)])

    def where_bit(codes: Any, bit: Any, x: Any, y: Any) -> Any:
        """Lanes of x where the byte of `codes` has `bit`, of y elsewhere."""
        return np.where((codes & bit) != 0, x, y)

    def lookup(table: Any, offset: Any, codes: Any) -> Any:
        """Of a flat array, the elements at `offset` + codes, codes below 16."""
        return table[int(offset) + codes.astype(np.int64)]

    def vmax(x: Any, y: Any) -> Any:
        """Lane-wise maximum."""
        return np.maximum(x, y)

    def vmin(x: Any, y: Any) -> Any:
        """Lane-wise minimum."""
        return np.minimum(x, y)

    def vsqrt(x: Any) -> Any:
        """Square root."""
        return np.sqrt(x)

    def widen(x: Any) -> Any:
        """The same values as doubles."""
        return x.astype(np.float64)

    def narrow_as(x: Any, array: Any) -> Any:
        """Doubles rounded to the type of the array's elements."""
        return x.astype(array.dtype)

    def vlog(x: Any) -> Any:
        """Natural logarithm of normal numbers; minus infinity at zero."""
        with np.errstate(divide="ignore"):
            return np.log(x)

    def vexp(x: Any) -> Any:
        """Exponential; arguments below -708 give the smallest normal numbers, those above 709 the largest."""
        return np.exp(np.clip(x, -708.0, 709.0))

    def vexpm1(x: Any) -> Any:
        """Exponential less one, to a relative error of rounding; arguments from -708 to 709."""
        return np.expm1(np.clip(x, -708.0, 709.0))

    def power_of_two(x: Any) -> Any:
        """2 ** x of whole numbers, those outside -1022 to 1023 as if they were at the limit."""
        return np.exp2(np.clip(x, -1022.0, 1023.0))

    def binary_exponent(x: Any) -> Any:
        """floor(log2 x) as a float, for normal x > 0."""
        return np.floor(np.log2(np.maximum(x, 5e-308)))

    def inverse_power_of_two(x: Any) -> Any:
        """2 ** -binary_exponent(x), exactly."""
        return np.exp2(-binary_exponent(x))

    def divide_or_zero(w: Any, x: Any) -> Any:
        """w / x where x > 0, else 0."""
        return np.divide(w, x, out=np.zeros_like(w), where=x > 0)

    def where_positive(w: Any, x: Any) -> Any:
        """x where w > 0, else 0."""
        return np.where(w > 0, x, 0.0)

else:
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic, models, overload, register_model

    class Vec(types.Type):
        """numba type of a vector of `LANES` values of a scalar type."""

        def __init__(self, dtype: Any) -> None:
            self.dtype = dtype
            super().__init__(name=f"Vec{LANES}({dtype})")

    @register_model(Vec)
    class VecModel(models.PrimitiveModel):
        """A Vec is one LLVM vector value."""

        def __init__(self, manager: Any, vec: Any) -> None:
            element = manager.lookup(vec.dtype).get_value_type()
            super().__init__(manager, vec, ir.VectorType(element, LANES))

    _INTS = ir.VectorType(ir.IntType(64), LANES)
    _DOUBLES = ir.VectorType(ir.DoubleType(), LANES)
    _MANTISSA = 0x000FFFFFFFFFFFFF
    _ONE_BITS = 0x3FF0000000000000
    # log 2 in two parts, the first with so few bits that its product with any exponent is exact.
    _LOG_TWO_HIGH = float.fromhex("0x1.62e42fee00000p-1")
    _LOG_TWO_LOW = float.fromhex("0x1.a39ef35793c76p-33")

    def _ints(value: int) -> Any:
        return ir.Constant(_INTS, [value] * LANES)

    def _doubles(value: float) -> Any:
        return ir.Constant(_DOUBLES, [value] * LANES)

    def _address(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
        view = context.make_array(array_type)(context, builder, array)
        return builder.gep(view.data, [offset])

    def _splat(builder: Any, x: Any) -> Any:
        vector = ir.VectorType(x.type, LANES)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        empty = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(empty, x, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, empty, lanes)

    def _lanes_of_both(builder: Any, one: Any, other: Any, chosen: list[int]) -> Any:
        """Of two vectors end to end, the lanes of these numbers."""
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), len(chosen)), chosen)
        return builder.shuffle_vector(one, other, lanes)

    def _lanes_from(builder: Any, vector: Any, first: int, count: int) -> Any:
        return _lanes_of_both(builder, vector, ir.Constant(vector.type, ir.Undefined), list(range(first, first + count)))

    @intrinsic
    def keep_whole(typingctx: Any) -> Any:
        """Called in a kernel: it is compiled once, and not anew within each caller, where sums may be put in another order."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            builder.function.attributes.add("noinline")
            return context.get_dummy_value()

        return types.none(), codegen

    @intrinsic
    def vload(typingctx: Any, array: Any, offset: Any) -> Any:
        """Eight lanes of a flat array from `offset`."""
        vec = Vec(array.dtype)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            address = _address(context, builder, sig.args[0], args[0], args[1])
            pointer = builder.bitcast(address, context.get_value_type(vec).as_pointer())
            return builder.load(pointer, align=array.dtype.bitwidth // 8)

        return vec(array, offset), codegen

    @intrinsic
    def vstore(typingctx: Any, array: Any, offset: Any, value: Any) -> Any:
        """Write eight lanes to a flat array at `offset`."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            address = _address(context, builder, sig.args[0], args[0], args[1])
            pointer = builder.bitcast(address, args[2].type.as_pointer())
            builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
            return context.get_dummy_value()

        return types.void(array, offset, value), codegen

    @intrinsic
    def splat(typingctx: Any, x: Any) -> Any:
        """All lanes equal to x."""
        return Vec(x)(x), lambda context, builder, sig, args: _splat(builder, args[0])

    @intrinsic
    def vsum(typingctx: Any, x: Any) -> Any:
        """Sum of the lanes."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            # The upper half on the lower one, until one lane is left: an order that no compiler chooses.
            total, width = args[0], LANES
            while width > 1:
                width //= 2
                halves = (_lanes_from(builder, total, first, width) for first in (0, width))
                total = builder.fadd(*halves, flags=FLAGS)
            return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

        return x.dtype(x), codegen

    @intrinsic
    def vsums(typingctx: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
        """The vsum of each of eight vectors, the lanes of one."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            # As vsum: the upper half of what is left of each vector on the lower one, two vectors in one.
            vectors, width = list(args), LANES
            while width > 1:
                width //= 2
                lower = [k for k in range(2 * LANES) if k % (2 * width) < width]
                halves = [[k + shift for k in lower] for shift in (0, width)]
                pairs = zip(vectors[::2], vectors[1::2], strict=True)
                vectors = [
                    builder.fadd(*(_lanes_of_both(builder, one, other, half) for half in halves), flags=FLAGS)
                    for one, other in pairs
                ]
            return vectors[0]

        return a(a, b, c, d, e, f, g, h), codegen

    @intrinsic
    def where_bit(typingctx: Any, codes: Any, bit: Any, x: Any, y: Any) -> Any:
        """Lanes of x where the byte of `codes` has `bit`, of y elsewhere."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            chosen = builder.and_(args[0], _splat(builder, args[1]))
            mask = builder.icmp_unsigned("!=", chosen, ir.Constant(args[0].type, [0] * LANES))
            return builder.select(mask, args[2], args[3])

        return x(codes, bit, x, y), codegen

    @intrinsic
    def lookup(typingctx: Any, table: Any, offset: Any, codes: Any) -> Any:
        """Of a flat array, the elements at `offset` + codes, codes below 16: by a shuffle of registers with AVX-512, by
        eight loads elsewhere.
        """
        vec = Vec(table.dtype)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            address = _address(context, builder, sig.args[0], args[0], args[1])
            wide = builder.zext(args[2], _INTS)
            vector = context.get_value_type(vec)
            # The features for which numba compiles; its cache keeps programs for others apart.
            if "+avx512f" in context.codegen()._tm_features and sig.return_type.dtype == types.float64:
                first = builder.bitcast(address, vector.as_pointer())
                second = builder.gep(first, [ir.Constant(ir.IntType(64), 1)])
                halves = [builder.load(half, align=8) for half in (first, second)]
                signature = ir.FunctionType(vector, [vector, _INTS, vector])
                permute = cgutils.get_or_insert_function(builder.module, signature, "llvm.x86.avx512.vpermi2var.pd.512")
                return builder.call(permute, [halves[0], wide, halves[1]])
            found = ir.Constant(vector, ir.Undefined)
            for lane in range(LANES):
                place = ir.Constant(ir.IntType(32), lane)
                element = builder.load(builder.gep(address, [builder.extract_element(wide, place)]))
                found = builder.insert_element(found, element, place)
            return found

        return vec(table, offset, codes), codegen

    @intrinsic
    def vmax(typingctx: Any, x: Any, y: Any) -> Any:
        """Lane-wise maximum."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[0], args[1])

        return x(x, y), codegen

    @intrinsic
    def vmin(typingctx: Any, x: Any, y: Any) -> Any:
        """Lane-wise minimum."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[0], args[1])

        return x(x, y), codegen

    @intrinsic
    def vsqrt(typingctx: Any, x: Any) -> Any:
        """Square root."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            bits = sig.return_type.dtype.bitwidth
            signature = ir.FunctionType(args[0].type, [args[0].type])
            root = cgutils.get_or_insert_function(builder.module, signature, f"llvm.sqrt.v{LANES}f{bits}")
            return builder.call(root, [args[0]])

        return x(x), codegen

    @intrinsic
    def widen(typingctx: Any, x: Any) -> Any:
        """The same values as doubles."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return args[0] if sig.args[0] == sig.return_type else builder.fpext(args[0], _DOUBLES)

        return Vec(types.float64)(x), codegen

    @intrinsic
    def narrow_as(typingctx: Any, x: Any, array: Any) -> Any:
        """Doubles rounded to the type of the array's elements."""
        vec = Vec(array.dtype)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            if sig.args[0] == sig.return_type:
                return args[0]
            return builder.fptrunc(args[0], context.get_value_type(vec))

        return vec(x, array), codegen

    @intrinsic
    def vlog(typingctx: Any, x: Any) -> Any:
        """Natural logarithm of normal numbers; minus infinity at zero.

        x = 2^e m with m in [1/sqrt 2, sqrt 2); log m = 2 artanh t, t = (m-1)/(m+1), |t| < 0.172, by its odd
        series to t^21 (remainder below 2e-17).
        """

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            b = builder
            bits = b.bitcast(args[0], _INTS)
            exponent = b.sub(b.lshr(bits, _ints(52)), _ints(1023))
            mantissa = b.bitcast(b.or_(b.and_(bits, _ints(_MANTISSA)), _ints(_ONE_BITS)), _DOUBLES)
            large = b.fcmp_ordered(">", mantissa, _doubles(2.0**0.5))
            mantissa = b.select(large, b.fmul(mantissa, _doubles(0.5)), mantissa)
            exponent = b.select(large, b.add(exponent, _ints(1)), exponent)
            t = b.fdiv(b.fsub(mantissa, _doubles(1.0)), b.fadd(mantissa, _doubles(1.0)))
            square = b.fmul(t, t)
            series = _doubles(2.0 / 21)
            for k in range(19, 0, -2):
                series = b.fadd(b.fmul(series, square, flags=FLAGS), _doubles(2.0 / k), flags=FLAGS)
            whole = b.fmul(b.sitofp(exponent, _DOUBLES), _doubles(LOG_TWO))
            logarithm = b.fadd(b.fmul(series, t), whole)
            positive = b.fcmp_ordered(">", args[0], _doubles(0.0))
            return b.select(positive, logarithm, _doubles(-np.inf))

        return x(x), codegen

    def _reduced(b: Any, x: Any) -> tuple[Any, Any]:
        """n and r of x = n log 2 + r, |r| < 0.347; x is held within -708 and 709."""
        x = b.select(b.fcmp_ordered("<", x, _doubles(-708.0)), _doubles(-708.0), x)
        x = b.select(b.fcmp_ordered(">", x, _doubles(709.0)), _doubles(709.0), x)
        # An instruction that rounds, because a compiler may take adding and taking away 1.5 * 2^52 away.
        signature = ir.FunctionType(_DOUBLES, [_DOUBLES])
        rint = cgutils.get_or_insert_function(b.module, signature, f"llvm.rint.v{LANES}f64")
        whole = b.call(rint, [b.fmul(x, _doubles(1.0 / LOG_TWO))])
        r = b.fsub(x, b.fmul(whole, _doubles(_LOG_TWO_HIGH)))
        return whole, b.fsub(r, b.fmul(whole, _doubles(_LOG_TWO_LOW)))

    def _power(b: Any, whole: Any) -> Any:
        """2 ** whole, of whole numbers that are a normal number's exponent."""
        return b.bitcast(b.shl(b.add(b.fptosi(whole, _INTS), _ints(1023)), _ints(52)), _DOUBLES)

    @intrinsic
    def vexp(typingctx: Any, x: Any) -> Any:
        """Exponential; arguments below -708 give the smallest normal numbers, those above 709 the largest.

        x = n log 2 + r with |r| < 0.347; exp r by its Taylor series to r^13 (remainder below 5e-18).
        """

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            b = builder
            whole, r = _reduced(b, args[0])
            series = _doubles(1.0 / math.factorial(13))
            for k in range(12, -1, -1):
                series = b.fadd(b.fmul(series, r, flags=FLAGS), _doubles(1.0 / math.factorial(k)), flags=FLAGS)
            return b.fmul(series, _power(b, whole))

        return x(x), codegen

    @intrinsic
    def vexpm1(typingctx: Any, x: Any) -> Any:
        """Exponential less one, to a relative error of rounding; arguments from -708 to 709.

        As vexp, without the constant of the series: 2^n (exp r - 1) + (2^n - 1).
        """

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            b = builder
            whole, r = _reduced(b, args[0])
            series = _doubles(1.0 / math.factorial(14))
            for k in range(13, 0, -1):
                series = b.fadd(b.fmul(series, r, flags=FLAGS), _doubles(1.0 / math.factorial(k)), flags=FLAGS)
            power = _power(b, whole)
            small = b.fmul(b.fmul(series, r), power, flags=FLAGS)
            return b.fadd(small, b.fsub(power, _doubles(1.0)), flags=FLAGS)

        return x(x), codegen

    @intrinsic
    def power_of_two(typingctx: Any, x: Any) -> Any:
        """2 ** x of whole numbers, those outside -1022 to 1023 as if they were at the limit."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            b = builder
            x = b.select(b.fcmp_ordered("<", args[0], _doubles(-1022.0)), _doubles(-1022.0), args[0])
            return _power(b, b.select(b.fcmp_ordered(">", x, _doubles(1023.0)), _doubles(1023.0), x))

        return x(x), codegen

    @intrinsic
    def binary_exponent(typingctx: Any, x: Any) -> Any:
        """floor(log2 x) as a float, for normal x > 0."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            bits = builder.bitcast(args[0], _INTS)
            return builder.sitofp(builder.sub(builder.lshr(bits, _ints(52)), _ints(1023)), _DOUBLES)

        return x(x), codegen

    @intrinsic
    def inverse_power_of_two(typingctx: Any, x: Any) -> Any:
        """2 ** -binary_exponent(x), exactly."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            biased = builder.lshr(builder.bitcast(args[0], _INTS), _ints(52))
            return builder.bitcast(builder.shl(builder.sub(_ints(2046), biased), _ints(52)), _DOUBLES)

        return x(x), codegen

    @intrinsic
    def divide_or_zero(typingctx: Any, w: Any, x: Any) -> Any:
        """w / x where x > 0, else 0."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            positive = builder.fcmp_ordered(">", args[1], _doubles(0.0))
            return builder.select(positive, builder.fdiv(args[0], args[1]), _doubles(0.0))

        return w(w, x), codegen

    @intrinsic
    def where_positive(typingctx: Any, w: Any, x: Any) -> Any:
        """x where w > 0, else 0."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", args[0], _doubles(0.0)), args[1], _doubles(0.0))

        return x(w, x), codegen

    def _lanewise(symbol: Any, instruction: str) -> None:
        @intrinsic
        def operation(typingctx: Any, x: Any, y: Any) -> Any:
            def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
                return getattr(builder, instruction)(args[0], args[1], flags=FLAGS)

            return x(x, y), codegen

        @overload(symbol)
        def typed(x, y):  # numba compares the argument lists to the letter
            if isinstance(x, Vec) and isinstance(y, Vec):
                return lambda x, y: operation(x, y)
            return None

    for _symbol, _instruction in (
        (operator.add, "fadd"),
        (operator.sub, "fsub"),
        (operator.mul, "fmul"),
        (operator.truediv, "fdiv"),
    ):
        _lanewise(_symbol, _instruction)
