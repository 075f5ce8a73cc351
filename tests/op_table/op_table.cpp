// The list that the rows register in, and the deterministic values of sample inputs.
#include "op_table/op_table.h"

#include <cmath>

#include "golden/generate.h"

namespace op_table {
namespace {

std::vector<Row>& table() {
  static std::vector<Row> instance;
  return instance;
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
    const double value = input.low + (input.high - input.low) * golden::uniform_at(index, i);
    if (dtype == float64) x.mutable_data<double>()[i] = value;
    if (dtype == int64) x.mutable_data<int64_t>()[i] = static_cast<int64_t>(std::floor(value));
    if (dtype == boolean) x.mutable_data<bool>()[i] = value >= 1;
  }
  return x.to(test_device());
}

}  // namespace op_table
