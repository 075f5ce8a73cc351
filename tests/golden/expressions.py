"""What PyTorch computes for each sample of the op table: «op/label» to a function of the sample's inputs."""
import torch
import torch.nn.functional as F

EXPRESSIONS = {}

# view_rows.cpp
EXPRESSIONS.update({
    "reshape/merge": lambda x: x.reshape(6, -1),
    "reshape/split": lambda x: x.reshape(2, 3, 2, 2),
    "reshape/empty": lambda x: x.reshape(2, 0),
    "reshape/scalar": lambda x: x.reshape(1, 1),
    "transpose/01": lambda x: x.transpose(0, 1),
    "transpose/last": lambda x: x.transpose(-1, -2),
    "permute/rotate": lambda x: x.permute(2, 0, 1),
    "unsqueeze/front": lambda x: x.unsqueeze(0),
    "unsqueeze/back": lambda x: x.unsqueeze(-1),
    "squeeze/middle": lambda x: x.squeeze(1),
    "squeeze/kept": lambda x: x.squeeze(0),
    "flatten/all": lambda x: x.flatten(),
    "flatten/tail": lambda x: x.flatten(1),
    "broadcast_to/rows": lambda x: x.broadcast_to(2, 3),
    "broadcast_to/column": lambda x: x.broadcast_to(2, 4),
})

# matmul_rows.cpp
EXPRESSIONS.update({f"matmul/{label}": torch.matmul for label in (
    "matrices", "dot", "matrix_vector", "vector_matrix", "batch", "batch_vector", "vector_batch", "rows", "broadcast",
    "matrix_batch", "empty_k", "empty_batch")})
EXPRESSIONS["matmul/heads"] = lambda x, y: x.transpose(1, 2) @ y.permute(0, 2, 3, 1)
EXPRESSIONS.update({f"linear/{label}": F.linear for label in ("bias", "plain", "batch", "vector", "empty")})
EXPRESSIONS.update({f"outer/{label}": torch.outer for label in ("vectors", "empty")})

# conv_rows.cpp
def _conv(f, **options):
    return lambda x, w, b=None: f(x, w, b, **options)


EXPRESSIONS.update({
    "conv2d/plain": _conv(F.conv2d),
    "conv2d/bias_padding": _conv(F.conv2d, padding=1),
    "conv2d/stride": _conv(F.conv2d, stride=(2, 3), padding=(0, 1)),
    "conv2d/dilation": _conv(F.conv2d, padding=1, dilation=2),
    "conv2d/groups": _conv(F.conv2d, groups=2),
    "conv2d/depthwise": _conv(F.conv2d, stride=2, padding=1, groups=3),
    "conv2d/pointwise": _conv(F.conv2d),
    "conv2d/empty_batch": _conv(F.conv2d),
    "conv_transpose2d/plain": _conv(F.conv_transpose2d),
    "conv_transpose2d/bias_stride": _conv(F.conv_transpose2d, stride=2, padding=1, output_padding=1),
    "conv_transpose2d/dilation": _conv(F.conv_transpose2d, padding=1, dilation=2),
    "conv_transpose2d/groups": _conv(F.conv_transpose2d, stride=(2, 1), groups=2),
    "conv_transpose2d/empty_batch": _conv(F.conv_transpose2d),
})

# pool_rows.cpp
EXPRESSIONS.update({
    "max_pool2d/two": lambda x: F.max_pool2d(x, 2),
    "max_pool2d/odd": lambda x: F.max_pool2d(x, 2),
    "max_pool2d/three": lambda x: F.max_pool2d(x, 3, stride=2, padding=1),
    "max_pool2d/overlap": lambda x: F.max_pool2d(x, (2, 3), stride=1),
    "max_pool2d/dilation": lambda x: F.max_pool2d(x, 2, stride=1, padding=1, dilation=2),
    "max_pool2d/empty_batch": lambda x: F.max_pool2d(x, 2),
    "avg_pool2d/two": lambda x: F.avg_pool2d(x, 2),
    "avg_pool2d/padding": lambda x: F.avg_pool2d(x, 3, stride=2, padding=1),
    "avg_pool2d/uncounted": lambda x: F.avg_pool2d(x, 3, stride=(2, 1), padding=1, count_include_pad=False),
    "avg_pool2d/wide": lambda x: F.avg_pool2d(x, (2, 17), stride=1),
    "avg_pool2d/empty_batch": lambda x: F.avg_pool2d(x, 2),
})
for name in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
    for label, size in {"global": 1, "uneven": (3, 4), "larger": (3, 5)}.items():
        EXPRESSIONS[f"{name}/{label}"] = lambda x, f=getattr(F, name), size=size: f(x, size)

# arithmetic_rows.cpp
for name, f in {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "pow": torch.pow, "minimum": torch.minimum, "maximum": torch.maximum}.items():
    EXPRESSIONS.update({f"{name}/{label}": f for label in ("same", "row", "both", "number", "empty")})
for name, f in {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "pow": torch.pow}.items():
    EXPRESSIONS.update({
        f"{name}/with_number": lambda x, f=f: f(x, 0.75),
        f"{name}/with_integer": lambda x, f=f: f(x, 3),
    })
EXPRESSIONS.update({
    "sub/from_number": lambda x: 0.75 - x,
    "div/from_number": lambda x: 0.75 / x,
    "remainder/with_number": lambda x: torch.remainder(x, 0.75),
    "remainder/negative": lambda x: torch.remainder(x, -0.75),
    "remainder/tensor": lambda x: torch.remainder(x, 0.75),
    "remainder/integers": lambda x: torch.remainder(x, 4),
    "remainder/integers_negative": lambda x: torch.remainder(x, -4),
    "neg/values": torch.neg,
    "neg/empty": torch.neg,
    "clamp/both": lambda x: torch.clamp(x, -1, 0.5),
    "clamp/low": lambda x: torch.clamp(x, min=0.25),
    "clamp/high": lambda x: torch.clamp(x, max=0.25),
    "clamp/integers": lambda x: torch.clamp(x, -3, 4),
    "lerp/quarter": lambda x, y: torch.lerp(x, y, 0.25),
    "lerp/row": lambda x, y: torch.lerp(x, y, 0.75),
})

# comparison_rows.cpp
for name in ("eq", "ne", "lt", "le", "gt", "ge"):
    f = getattr(torch, name)
    EXPRESSIONS.update({f"{name}/{label}": f for label in ("floats", "integers", "booleans")})
    EXPRESSIONS.update({f"{name}/number": lambda x, f=f: f(x, 2), f"{name}/empty": lambda x, f=f: f(x, 0.5)})
for name in ("logical_and", "logical_or", "logical_xor"):
    EXPRESSIONS.update({f"{name}/{label}": getattr(torch, name) for label in ("same", "row")})
EXPRESSIONS["logical_not/values"] = torch.logical_not
for name in ("isnan", "isinf", "isfinite"):
    f = getattr(torch, name)
    EXPRESSIONS.update({f"{name}/quotients": lambda x, y, f=f: f(x.double() / y.double()), f"{name}/integers": f})

# unary_rows.cpp
for name in ("abs sign square exp expm1 log log1p log2 sqrt rsqrt reciprocal sin cos tan asin acos atan sinh cosh tanh erf "
             "floor ceil round trunc sigmoid relu").split():
    EXPRESSIONS.update({f"{name}/{label}": getattr(torch, name) for label in ("values", "number", "empty")})
for name, f in {"silu": F.silu, "softplus": F.softplus, "log_sigmoid": F.logsigmoid}.items():
    EXPRESSIONS.update({f"{name}/{label}": f for label in ("values", "number", "empty")})
EXPRESSIONS.update({f"{name}/integers": getattr(torch, name) for name in ("abs", "sign", "square", "relu")})
EXPRESSIONS.update({
    "leaky_relu/default": F.leaky_relu,
    "leaky_relu/steep": lambda x: F.leaky_relu(x, 0.3),
    "elu/default": F.elu,
    "elu/alpha": lambda x: F.elu(x, 0.5),
    "gelu/erf": F.gelu,
    "gelu/tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardtanh/default": F.hardtanh,
    "hardtanh/bounds": lambda x: F.hardtanh(x, -0.5, 2),
    "where/same": torch.where,
    "where/broadcast": torch.where,
    "where/number": lambda c, x: torch.where(c, x, torch.tensor(0.5, dtype=x.dtype)),
    "where/integers": torch.where,
    "masked_fill/same": lambda x, m: x.masked_fill(m, -1),
    "masked_fill/row": lambda x, m: x.masked_fill(m, 0.5),
})
