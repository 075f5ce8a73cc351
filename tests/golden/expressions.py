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
for label, exponent in {"square": 2, "root": 0.5, "inverse_root": -0.5, "inverse": -1}.items():
    EXPRESSIONS[f"pow/{label}"] = lambda x, e=exponent: torch.pow(x, e)
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

# reduction_rows.cpp
REDUCTION_DIMS = {
    "all": (None, False), "all_keep": (None, True), "last": (-1, False), "first": (0, False), "middle_keep": (1, True),
    "ends": ((0, 2), False), "first_two_keep": ((0, 1), True), "number": (None, False), "empty": (1, False),
}


def reduced(op, f, labels=tuple(REDUCTION_DIMS)):
    def call(dims, keep):
        return lambda x: f(x, tuple(range(x.dim())) if dims is None else dims, keep)
    EXPRESSIONS.update({f"{op}/{label}": call(*REDUCTION_DIMS[label]) for label in labels})


def one_by_one(f):
    """A function of one dim, over several from the last."""
    def call(x, dims, keep):
        dims = sorted((d % max(x.dim(), 1) for d in ([dims] if isinstance(dims, int) else dims)), reverse=True)
        for d in dims:
            x = f(x, d, keep)
        return x
    return call


WITHOUT_EMPTY = tuple(label for label in REDUCTION_DIMS if label != "empty")
reduced("sum", lambda x, dims, keep: x.sum(dims, keepdim=keep))
reduced("mean", lambda x, dims, keep: x.mean(dims, keepdim=keep))
reduced("prod", one_by_one(lambda x, dim, keep: x.prod(dim, keepdim=keep)))
reduced("var", lambda x, dims, keep: x.var(dims, correction=0, keepdim=keep), WITHOUT_EMPTY)
reduced("stddev", lambda x, dims, keep: x.std(dims, correction=0, keepdim=keep), WITHOUT_EMPTY[:-1])
reduced("any", lambda x, dims, keep: one_by_one(torch.any)(x > 1.5, dims, keep))
reduced("all", lambda x, dims, keep: one_by_one(torch.all)(x < 1.5, dims, keep))
reduced("norm", lambda x, dims, keep: torch.linalg.vector_norm(x, 2, dims, keepdim=keep), WITHOUT_EMPTY)
reduced("logsumexp", lambda x, dims, keep: torch.logsumexp(x, dims, keepdim=keep))
EXPRESSIONS.update({f"norm/{label}": lambda x, p=p: torch.linalg.vector_norm(x, p, 1) for label, p in (
    ("p0", 0), ("p1", 1), ("p3", 3), ("p1.5", 1.5), ("pinf", float("inf")), ("pmin", -float("inf")))})
for name, f in (("max", torch.max), ("min", torch.min)):
    EXPRESSIONS.update({
        f"{name}/all": lambda x, f=f: f(x),
        f"{name}/last": lambda x, f=f: f(x, -1).values,
        f"{name}/first": lambda x, f=f: f(x, 0).values,
        f"{name}/middle_keep": lambda x, f=f: f(x, 1, keepdim=True).values,
        f"{name}/number": lambda x, f=f: f(x, 0).values,
    })
for name, f in (("argmax", torch.argmax), ("argmin", torch.argmin)):
    EXPRESSIONS.update({
        f"{name}/all": lambda x, f=f: f(x),
        f"{name}/all_keep": lambda x, f=f: f(x, None, keepdim=True).reshape(1, 1),
        f"{name}/last": lambda x, f=f: f(x, -1),
        f"{name}/first": lambda x, f=f: f(x, 0),
        f"{name}/middle_keep": lambda x, f=f: f(x, 1, keepdim=True),
    })
EXPRESSIONS.update({
    "prod/zeros": lambda i, x: (i * x).prod(0),
    "var/bessel": lambda x: x.var(0),
    "stddev/bessel": lambda x: x.std(0),
    "sum_to/row": lambda x: x.sum_to_size(3),
    "sum_to/column": lambda x: x.sum_to_size(4, 1),
    "sum_to/number": lambda x: x.sum(),
    "sum_to/ones": lambda x: x.sum_to_size(3),
    "sum_to/both": lambda x: x.sum_to_size(4, 1),
    "cumsum/last": lambda x: x.cumsum(-1),
    "cumsum/first": lambda x: x.cumsum(0),
    "cumsum/middle": lambda x: x.cumsum(1),
    "cumsum/number": lambda x: x.cumsum(0),
    "cumsum/empty": lambda x: x.cumsum(1),
    "sort/last": lambda x: x.sort().values,
    "sort/first_descending": lambda x: x.sort(0, descending=True).values,
    "sort/middle": lambda x: x.sort(1).values,
    "sort/number": lambda x: x.sort().values,
    "sort/empty": lambda x: x.sort().values,
    "topk/last": lambda x: x.topk(3).values,
    "topk/first_smallest": lambda x: x.topk(2, 0, largest=False).values,
    "topk/middle": lambda x: x.topk(4, 1).values,
    "topk/whole": lambda x: x.topk(5).values,
    "topk/none": lambda x: x.topk(0).values,
})

# index_rows.cpp
EXPRESSIONS.update({
    "index/numbers": lambda x: x[1, -1],
    "index/slices": lambda x: x[1:-1, ::2],
    "index/new_dim": lambda x: x[None, 1, None],
    "index/nothing": lambda x: x,
    "index/rows": lambda x, i: x[i],
    "index/brackets": lambda x, i: x[i],
    "index/column": lambda x, i: x[:, i],
    "index/pairs": lambda x, i, j: x[i, j],
    "index/outer": lambda x, i, j: x[i, j],
    "index/apart": lambda x, i, j: x[i, :, j],
    "index/mask": lambda x, m: x[m],
    "index/mask_rows": lambda x, m: x[m, 1:3],
    "index/mask_last": lambda x, m: x[:, m],
    "index/none": lambda x, i: x[i],
    "index_select/rows": lambda x, i: x.index_select(0, i),
    "index_select/columns": lambda x, i: x.index_select(-1, i),
    "index_select/middle": lambda x, i: x.index_select(1, i),
    "index_select/none": lambda x, i: x.index_select(0, i),
    "index_add/rows": lambda x, i, s: x.index_add(0, i, s),
    "index_add/columns": lambda x, i, s: x.index_add(1, i, s),
    "index_add/none": lambda x, i, s: x.index_add(0, i, s),
    "masked_select/same": torch.masked_select,
    "masked_select/broadcast": torch.masked_select,
    "nonzero/mask": torch.nonzero,
    "nonzero/values": torch.nonzero,
    "nonzero/empty": torch.nonzero,
    "gather/last": lambda x, i: x.gather(1, i),
    "gather/first": lambda x, i: x.gather(0, i),
    "gather/smaller": lambda x, i: x.gather(1, i),
    "gather/empty": lambda x, i: x.gather(1, i),
    "scatter_add/last": lambda x, i, s: x.scatter_add(1, i, s),
    "scatter_add/first": lambda x, i, s: x.scatter_add(0, i, s),
    "scatter_add/smaller": lambda x, i, s: x.scatter_add(1, i, s[:2, :5, :1]),  # its derivative wants equal shapes
    "one_hot/vector": lambda i: F.one_hot(i, 4),
    "one_hot/matrix": lambda i: F.one_hot(i, 3),
    "embedding/vector": F.embedding,
    "embedding/matrix": F.embedding,
})


# join_rows.cpp
def rejoined(parts, dim):
    return torch.cat([part * (k + 1) for k, part in enumerate(parts)], dim)


EXPRESSIONS.update({
    "cat/rows": lambda *x: torch.cat(x),
    "cat/columns": lambda *x: torch.cat(x, -1),
    "cat/six": lambda *x: torch.cat(x),
    "stack/front": lambda *x: torch.stack(x),
    "stack/back": lambda *x: torch.stack(x, -1),
    "stack/numbers": lambda *x: torch.stack(x),
    "split/even": lambda x: rejoined(x.split(2), 0),
    "split/rest": lambda x: rejoined(x.split(2, 1), 1),
    "split/sizes": lambda x: rejoined(x.split([1, 0, 5]), 0),
    "chunk/three": lambda x: rejoined(x.chunk(3), 0),
    "chunk/more_than_there_are": lambda x: rejoined(x.chunk(5, 1), 1),
    "unbind/first": lambda x: rejoined(x.unbind(), 0),
    "unbind/last": lambda x: rejoined(x.unbind(-1), 0),
    "pad/last": lambda x: F.pad(x, (1, 2)),
    "pad/two": lambda x: F.pad(x, (1, 0, 2, 1), value=0.5),
    "pad/crop": lambda x: F.pad(x, (-1, 2, 1, -2)),
    "pad/only_crop": lambda x: F.pad(x, (-1, -1)),
    "pad/nothing": lambda x: x,
    "flip/both": lambda x: x.flip(0, 1),
    "flip/last": lambda x: x.flip(-1),
    "flip/none": lambda x: x.clone(),
    "flip/empty": lambda x: x.flip(0),
    "roll/forward": lambda x: x.roll(2, 0),
    "roll/backward": lambda x: x.roll(-7, 1),
    "roll/empty": lambda x: x.roll(1, 0),
    "tril/square": torch.tril,
    "tril/wide_above": lambda x: x.tril(1),
    "tril/nothing": lambda x: x.tril(-3),
    "triu/square": torch.triu,
    "triu/tall_below": lambda x: x.triu(-1),
    "triu/everything": lambda x: x.triu(-9),
})

# softmax_rows.cpp
for name in ("softmax", "log_softmax"):
    f = getattr(torch, name)
    EXPRESSIONS.update({f"{name}/{label}": lambda x, f=f, dim=dim: f(x, dim)
                        for label, dim in {"last": -1, "first": 0, "middle": -2, "wide": 1, "number": -1, "empty": -1}.items()})

# loss_rows.cpp
CLASS_WEIGHTS = torch.tensor([0.5, 2, 1.25], dtype=torch.float64)
EXPRESSIONS.update({
    "cross_entropy/mean": F.cross_entropy,
    "cross_entropy/sum": lambda x, t: F.cross_entropy(x, t, reduction="sum"),
    "cross_entropy/none": lambda x, t: F.cross_entropy(x, t, reduction="none"),
    "cross_entropy/one_sample": F.cross_entropy,
    "cross_entropy/images": F.cross_entropy,
    "cross_entropy/weight": lambda x, t: F.cross_entropy(x, t, CLASS_WEIGHTS),
    "cross_entropy/smoothing": lambda x, t: F.cross_entropy(x, t, label_smoothing=0.2),
    "cross_entropy/ignore": lambda x, t: F.cross_entropy(x, t, ignore_index=1),
    "cross_entropy/everything": lambda x, t: F.cross_entropy(x, t, CLASS_WEIGHTS, ignore_index=1, label_smoothing=0.1),
    "cross_entropy/probabilities": F.cross_entropy,
    "cross_entropy/probabilities_everything": lambda x, t: F.cross_entropy(x, t, CLASS_WEIGHTS, label_smoothing=0.1),
    "nll_loss/mean": F.nll_loss,
    "nll_loss/images": lambda x, t: F.nll_loss(x, t, reduction="none"),
    "nll_loss/everything": lambda x, t: F.nll_loss(x, t, CLASS_WEIGHTS, ignore_index=1),
    "mse_loss/mean": F.mse_loss,
    "mse_loss/sum": lambda x, t: F.mse_loss(x, t, reduction="sum"),
    "mse_loss/none": lambda x, t: F.mse_loss(x, t, reduction="none"),
    "mse_loss/number": F.mse_loss,
    "l1_loss/mean": F.l1_loss,
    "l1_loss/none": lambda x, t: F.l1_loss(x, t, reduction="none"),
    "huber_loss/mean": F.huber_loss,
    "huber_loss/delta": lambda x, t: F.huber_loss(x, t, reduction="none", delta=0.5),
    "smooth_l1_loss/mean": F.smooth_l1_loss,
    "smooth_l1_loss/beta": lambda x, t: F.smooth_l1_loss(x, t, reduction="none", beta=0.5),
    "smooth_l1_loss/beta_0": lambda x, t: F.smooth_l1_loss(x, t, reduction="sum", beta=0),
    "binary_cross_entropy/mean": F.binary_cross_entropy,
    "binary_cross_entropy/none": lambda x, t: F.binary_cross_entropy(x, t, reduction="none"),
    "binary_cross_entropy/weight": lambda x, t, w: (F.binary_cross_entropy(x, t, reduction="none") * w).mean(),
    "binary_cross_entropy_with_logits/mean": F.binary_cross_entropy_with_logits,
    # PyTorch has no derivative for pos_weight, so its definition stands here.
    "binary_cross_entropy_with_logits/pos_weight": lambda x, t, w: (1 - t) * x + (1 + (w - 1) * t) * F.softplus(-x),
    "binary_cross_entropy_with_logits/weight": lambda x, t, p, w:
        (((1 - t) * x + (1 + (p - 1) * t) * F.softplus(-x)) * w).mean(),
    "kl_div/batch_mean": lambda x, t: F.kl_div(x, t, reduction="batchmean"),
    "kl_div/sum": lambda x, t: F.kl_div(x, t, reduction="sum"),
    "kl_div/none": lambda x, t: F.kl_div(x, t, reduction="none"),
    "kl_div/log_target": lambda x, t: F.kl_div(x, t, reduction="batchmean", log_target=True),
})


# norm_rows.cpp
def rms_norm(x, weight=None, dims=(-1,), eps=1e-6):
    y = x * torch.rsqrt(x.square().mean(dims, keepdim=True) + eps)
    return y if weight is None else y * weight


RUNNING_MEAN = torch.tensor([-0.5, 0.25, 2], dtype=torch.float64)
EXPRESSIONS.update({
    "layer_norm/plain": lambda x: F.layer_norm(x, (5,)),
    "layer_norm/affine": lambda x, w, b: F.layer_norm(x, (4,), w, b),
    "layer_norm/two_dims": lambda x, w, b: F.layer_norm(x, (3, 4), w, b, 1e-3),
    "layer_norm/no_bias": lambda x, w: F.layer_norm(x, (17,), w),
    "layer_norm/empty": lambda x, w: F.layer_norm(x, (4,), w),
    "rms_norm/plain": rms_norm,
    "rms_norm/weight": lambda x, w: rms_norm(x, w, eps=1e-3),
    "rms_norm/two_dims": lambda x, w: rms_norm(x, w, (-2, -1)),
    "group_norm/images": lambda x, w, b: F.group_norm(x, 2, w, b),
    "group_norm/plain": lambda x: F.group_norm(x, 3),
    "group_norm/layer": lambda x, w: F.group_norm(x, 1, w),
    "batch_norm/images": lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
    "batch_norm/vectors": lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
    "batch_norm/plain": lambda x: F.batch_norm(x, None, None, training=True, eps=1e-3),
    "batch_norm/frozen": lambda x, w, b: F.batch_norm(x, RUNNING_MEAN, RUNNING_MEAN + 1, w, b),
})


# attention_rows.cpp
def attention(q, k, v, mask=None, scale=None, causal=False):
    scores = q @ k.transpose(-2, -1) * (scale or q.shape[-1] ** -0.5)
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), float("-inf"))
    return (scores if mask is None else scores + mask).softmax(-1) @ v


EXPRESSIONS.update({
    "scaled_dot_product_attention/plain": attention,
    "scaled_dot_product_attention/causal": lambda q, k, v: attention(q, k, v, causal=True),
    "scaled_dot_product_attention/scale": lambda q, k, v: attention(q, k, v, scale=1.5),
    "scaled_dot_product_attention/additive_mask": attention,
    "scaled_dot_product_attention/wider_values": attention,
})
