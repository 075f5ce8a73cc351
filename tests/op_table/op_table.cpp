// The list that the rows register in, and the deterministic values of sample inputs.
#include "op_table/op_table.h"

#include <cmath>

namespace op_table {
namespace {

std::vector<Row>& table() {
  static std::vector<Row> instance;
  return instance;
}

// splitmix64 (Steele, Lea and Flood, OOPSLA 2014): element i of input `index`, in [0, 1). tests/golden/record.py
// repeats it.
double uniform_at(size_t index, int64_t i) {
  uint64_t z =
      (static_cast<uint64_t>(index) + 1) * 0x9E3779B97F4A7C15u + static_cast<uint64_t>(i) * 0xD1B54A32D192ED03u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

}  // namespace

bool add(std::vector<Row> rows) {
  for (Row& row : rows) table().push_back(std::move(row));
  return true;
}
const std::vector<Row>& rows() { return table(); }

Tensor make_input(const Sample& sample, size_t index) {
  const Input& input = sample.inputs[index];
  const Dtype dtype = input.kind == Input::Kind::floating  ? float64
                      : input.kind == Input::Kind::integer ? int64
                                                           : boolean;
  Tensor x = empty(input.shape, {.dtype = dtype});
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double value = input.low + (input.high - input.low) * uniform_at(index, i);
    if (dtype == float64) x.mutable_data<double>()[i] = value;
    if (dtype == int64) x.mutable_data<int64_t>()[i] = static_cast<int64_t>(std::floor(value));
    if (dtype == boolean) x.mutable_data<bool>()[i] = value >= 1;
  }
  return x;
}

}  // namespace op_table
