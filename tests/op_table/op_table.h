// The one op table. A row is an op with its samples; test_ops.cpp generates every property from the rows: float64
// against recorded PyTorch values, each dtype against float64, gradients of first and second order, layouts, bad
// inputs. The rows live in the other files of this folder, one for each file of autograd/ops/.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <typeinfo>
#include <vector>

#include <gradus/gradus.h>

#include "device.h"

namespace op_table {

using namespace gradus;
using In = std::span<const Tensor>;

// What rows make their own tensors with: Gradus's factories, on the device of the tests. Rows that name no namespace
// get these.
inline TensorOptions here(TensorOptions options) {
  options.device = test_device();
  return options;
}
inline Tensor zeros(const Shape& shape, const TensorOptions& options = {}) {
  return gradus::zeros(shape, here(options));
}
inline Tensor ones(const Shape& shape, const TensorOptions& options = {}) { return gradus::ones(shape, here(options)); }
inline Tensor full(const Shape& shape, Scalar value, const TensorOptions& options = {}) {
  return gradus::full(shape, value, here(options));
}
inline Tensor tensor(std::initializer_list<double> values, const TensorOptions& options = {}) {
  return gradus::tensor(values, here(options));
}
inline Tensor arange(Scalar end) { return gradus::arange(end, here({})); }

/// How an input of a sample is made: deterministic values that the recording script can make as well.
struct Input {
  enum class Kind { floating, integer, boolean } kind = Kind::floating;
  Shape shape;
  double low = -1, high = 1;
};
/// Uniform values in [low, high).
inline Input F(Shape shape, double low = -1, double high = 1) { return {Input::Kind::floating, shape, low, high}; }
/// Integers in [low, high), int64.
inline Input I(Shape shape, int64_t low, int64_t high) {
  return {Input::Kind::integer, shape, static_cast<double>(low), static_cast<double>(high)};
}
/// True or false.
inline Input B(Shape shape) { return {Input::Kind::boolean, shape, 0, 2}; }

struct Sample {
  std::string label;  ///< unique within the row: "dim0", "bias_stride2"
  std::vector<Input> inputs;
  std::function<Tensor(In)> call;
};

/// An input that must be refused: the call throws `type`, and its message contains the op's name and `text`.
struct BadInput {
  std::string label;
  std::function<void()> call;
  const std::type_info* type;
  std::string text;
};
template <class ErrorType>
BadInput bad(std::string label, std::function<void()> call, std::string text) {
  return {std::move(label), std::move(call), &typeid(ErrorType), std::move(text)};
}

struct Row {
  Row(std::string op, std::vector<Sample> its_samples, std::vector<BadInput> its_bad_inputs = {})
      : name(std::move(op)), samples(std::move(its_samples)), bad_inputs(std::move(its_bad_inputs)) {}

  // What a row may leave out; say why in a comment beside it.
  Row& no_derivative() { return order = 0, *this; }
  Row& first_order_only() { return order = 1, *this; }
  Row& not_recorded() { return golden = false, *this; }  ///< PyTorch has no such op, or draws other random numbers
  Row& float32_only() { return low_precision = false, *this; }  ///< float16 and bfloat16 cannot be compared
  Row& within(double units) { return tolerance = units, *this; }

  std::string name;  ///< as in autograd/ops.h
  std::vector<Sample> samples;
  std::vector<BadInput> bad_inputs;
  int order = 2;
  bool golden = true, low_precision = true;
  double tolerance = 8;  ///< allowed error in units of the dtype's epsilon times the largest magnitude
};

/// Called once by each file of rows, from a static: `static bool added = op_table::add({...});`
bool add(std::vector<Row> rows);
const std::vector<Row>& rows();

/// The values of input number `index` of a sample, as float64 / int64 / boolean on the device of the tests.
Tensor make_input(const Sample& sample, size_t index);

}  // namespace op_table
