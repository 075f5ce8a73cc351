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
