// Properties x rows of the op table, on the device of the tests: see op_table/op_table.h and device.h. Values are
// compared on the CPU. GRADUS_TEST_OPS="softmax sum" takes only these rows. `test_ops [.samples]` writes the samples to
// build/samples.json for the recording script, tests/golden/record.py.
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "catch.h"
#include "golden/generate.h"
#include "op_table/op_table.h"

namespace op_table {
namespace {

double epsilon(Dtype dtype) {
  switch (dtype) {
    case float32: return 0x1p-23;
    case float16: return 0x1p-10;
    case bfloat16: return 0x1p-7;
    default: return 0x1p-52;
  }
}

std::vector<Tensor> make_inputs(const Sample& sample, Dtype dtype = float64) {
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < sample.inputs.size(); ++i) {
    const Tensor x = make_input(sample, i);
    inputs.push_back(x.dtype() == float64 ? x.to(dtype) : x);
  }
  return inputs;
}

std::vector<Row> wanted_rows() {
  const char* names = std::getenv("GRADUS_TEST_OPS");
  if (!names) return rows();
  std::istringstream words(names);
  const std::set<std::string> wanted{std::istream_iterator<std::string>(words), {}};
  std::vector<Row> result;
  for (const Row& row : rows())
    if (wanted.contains(row.name)) result.push_back(row);
  return result;
}

// A bad index that nobody has waited for, because another error came first, would be taken for the next input's.
void forget_faults() {
  try {
    wait_for_test_device();
  } catch (const Error&) {
  }
}

// Runs `check(row, sample)` for every sample with the names in Catch's context.
template <class F>
void for_each_sample(F check) {
  for (const Row& row : wanted_rows())
    for (const Sample& sample : row.samples) {
      INFO(row.name << "/" << sample.label);
      try {
        check(row, sample);
        wait_for_test_device();
      } catch (const std::exception& error) {
        FAIL_CHECK(error.what());
        forget_faults();
      }
    }
}

// Largest difference in units of the largest magnitude (at least 1); infinity when a NaN or infinity is not in both.
double difference(const Tensor& x, const Tensor& reference) {
  if (!(x.shape() == reference.shape())) return INFINITY;
  const Tensor a = dense(on_cpu(x).to(float64)), b = dense(on_cpu(reference).to(float64));
  double largest = 1, worst = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double p = a.data<double>()[i], q = b.data<double>()[i];
    if (!std::isfinite(q)) {
      if (std::isnan(q) ? !std::isnan(p) : p != q) return INFINITY;
      continue;
    }
    if (!std::isfinite(p)) return INFINITY;
    largest = std::max(largest, std::fabs(q));
    worst = std::max(worst, std::fabs(p - q));
  }
  return worst / largest;
}

bool has_floating_input(const Sample& sample) {
  for (const Input& input : sample.inputs)
    if (input.kind == Input::Kind::floating) return true;
  return false;
}

// The gradients of sum(y * w) for the floating inputs, w fixed as in the recording script.
std::vector<Tensor> gradients(const Sample& sample, std::vector<Tensor>& inputs) {
  std::vector<Tensor> leaves;
  for (Tensor& x : inputs)
    if (is_floating(x.dtype())) {
      if (!x.requires_grad()) x = x.detach().requires_grad_();
      leaves.push_back(x);
    }
  const Tensor y = sample.call(inputs);
  Tensor w = empty(y.shape(), {.dtype = float64});
  for (int64_t i = 0; i < w.numel(); ++i) w.mutable_data<double>()[i] = golden::weight_at(i);
  y.backward(w.to(y.device(), y.dtype()));
  std::vector<Tensor> result;
  for (const Tensor& x : leaves) result.push_back(x.grad().defined() ? x.grad() : zeros_like(x));
  return result;
}

const nlohmann::json& recorded() {
  static const nlohmann::json values = [] {
    std::ifstream file("tests/golden/ops.json");
    return file ? nlohmann::json::parse(file) : nlohmann::json::object();
  }();
  return values;
}

// JSON has no NaN or infinity: the recording script writes them as strings.
double number(const nlohmann::json& value) {
  if (!value.is_string()) return value.get<double>();
  return std::stod(value.get<std::string>());
}

Tensor from_json(const nlohmann::json& entry) {
  Tensor x = empty(Shape(entry.at("shape").get<std::vector<int64_t>>()), {.dtype = float64});
  for (int64_t i = 0; i < x.numel(); ++i)
    x.mutable_data<double>()[i] = number(entry.at("values").at(static_cast<size_t>(i)));
  return x;
}

// The same values in another layout: dims reversed in memory, inside a larger storage with a gap after each element.
Tensor strange_layout(const Tensor& x) {
  if (x.rank() == 0) return x;
  Shape reversed;
  for (int d = x.rank(); d-- > 0;) reversed.push_back(x.shape()[d]);
  reversed.back() = reversed.back() * 2 + 1;
  const Tensor room = empty(reversed, {.dtype = x.dtype(), .device = x.device()});
  Shape dims;
  for (int d = x.rank(); d-- > 0;) dims.push_back(d);
  const Tensor view = room.slice(-1, 1, {}, 2).permute(dims);
  view.copy_(x);
  return view;
}

// Whether a message says what is wrong with an input: its text, or what a device that is not waited for can say of a
// bad index later.
bool explains(const std::string& message, const BadInput& input) {
  if (message.find(input.text) != message.npos) return true;
  return test_device().is_cuda() && !std::getenv("GRADUS_SYNC") && *input.type == typeid(IndexError) &&
         message.find("has a value outside") != message.npos;
}

}  // namespace

TEST_CASE("every op of ops.h has a row", "[table]") {
  std::ifstream file("autograd/ops.h");
  REQUIRE(file);
  std::stringstream text;
  text << file.rdbuf();
  std::set<std::string> names, known = {"equal", "allclose"};
  // A declaration is `GRADUS_API <type> name(`, or a line of the comparison macro.
  std::string line;
  while (std::getline(text, line)) {
    if (line.starts_with("GRADUS_DECLARE_COMPARISON(")) names.insert(line.substr(26, line.find(',') - 26));
    if (!line.starts_with("GRADUS_API ") || line.find('(') == std::string::npos) continue;
    const std::string head = line.substr(0, line.find('('));
    names.insert(head.substr(head.rfind(' ') + 1));
  }
  REQUIRE(names.size() > 100);
  for (const Row& row : rows()) known.insert(row.name);
  std::string missing;
  for (const std::string& name : names)
    if (!known.contains(name)) missing += name + " ";
  INFO("ops without a row: " << missing);
  CHECK(missing.empty());
}

TEST_CASE("forward in float64 equals the recorded PyTorch values", "[golden]") {
  for_each_sample([](const Row& row, const Sample& sample) {
    if (!row.golden) return;
    const std::string key = row.name + "/" + sample.label;
    if (!recorded().contains(key)) {
      FAIL_CHECK("no recorded values; add the sample to tests/golden/record.py and run it");
      return;
    }
    std::vector<Tensor> inputs = make_inputs(sample);
    CHECK(difference(sample.call(inputs), from_json(recorded().at(key).at("out"))) <= 1e-11);
    if (row.order == 0 || !recorded().at(key).contains("grads")) return;
    const std::vector<Tensor> grads = gradients(sample, inputs);
    for (size_t i = 0; i < grads.size(); ++i) {
      INFO("gradient " << i);
      CHECK(difference(grads[i], from_json(recorded().at(key).at("grads").at(i))) <= 1e-10);
    }
  });
}

TEST_CASE("forward and gradients in each floating dtype agree with float64", "[dtype]") {
  for_each_sample([](const Row& row, const Sample& sample) {
    if (!has_floating_input(sample)) return;
    for (const Dtype dtype : {float32, float16, bfloat16}) {
      if (dtype != float32 && !row.low_precision) continue;
      INFO(std::string(name(dtype)));
      std::vector<Tensor> low = make_inputs(sample, dtype), exact;
      for (const Tensor& x : low) exact.push_back(is_floating(x.dtype()) ? x.to(float64) : x);
      const Tensor y = sample.call(low), reference = sample.call(exact);
      CHECK(difference(y, reference) <= row.tolerance * epsilon(dtype));
      if (row.order == 0 || !is_floating(y.dtype())) continue;
      const std::vector<Tensor> ours = gradients(sample, low), theirs = gradients(sample, exact);
      for (size_t i = 0; i < ours.size(); ++i) {
        INFO("gradient " << i);
        CHECK(difference(ours[i], theirs[i]) <= 4 * row.tolerance * epsilon(dtype));
      }
    }
  });
}

TEST_CASE("gradients of first and second order pass gradcheck", "[gradcheck]") {
  for_each_sample([](const Row& row, const Sample& sample) {
    if (row.order == 0 || !has_floating_input(sample)) return;
    const GradcheckResult result = gradcheck(sample.call, make_inputs(sample), {.order = row.order});
    INFO(result.message);
    CHECK(result.ok);
  });
}

TEST_CASE("strided inputs give the values of contiguous ones", "[layout]") {
  for_each_sample([](const Row& row, const Sample& sample) {
    std::vector<Tensor> plain = make_inputs(sample), strided;
    for (const Tensor& x : plain) strided.push_back(strange_layout(x));
    CHECK(difference(sample.call(strided), sample.call(plain)) <= 4 * epsilon(float64));
    if (row.order == 0 || !has_floating_input(sample)) return;
    const std::vector<Tensor> ours = gradients(sample, strided), theirs = gradients(sample, plain);
    for (size_t i = 0; i < ours.size(); ++i) CHECK(difference(ours[i], theirs[i]) <= 16 * epsilon(float64));
  });
}

TEST_CASE("bad inputs are refused with a typed error that names the op", "[bad]") {
  for (const Row& row : wanted_rows())
    for (const BadInput& input : row.bad_inputs) {
      INFO(row.name << "/" << input.label);
      try {
        input.call();
        wait_for_test_device();
        FAIL_CHECK("accepted");
      } catch (const Error& error) {
        INFO(error.what());
        CHECK(typeid(error) == *input.type);
        CHECK(std::string(error.what()).find(row.name) != std::string::npos);
        CHECK(explains(error.what(), input));
      } catch (const std::exception& error) {
        FAIL_CHECK("not a gradus::Error: " << error.what());
      }
      forget_faults();
    }
}

// Nonsense in each place of each sample: any result or any gradus::Error will do; a crash, or another exception, will
// not.
TEST_CASE("nonsense inputs never crash", "[bad]") {
  for (const Row& row : wanted_rows())
    for (const Sample& sample : row.samples)
      for (size_t place = 0; place < sample.inputs.size(); ++place) {
        const std::vector<Tensor> nonsense = {
            Tensor(),
            zeros({}),
            zeros({0}),
            zeros({2, 0, 3}),
            zeros({7}),
            zeros({1, 1, 1, 1, 1, 1, 1, 1}),
            ones({2, 3}, {.dtype = boolean}),
            full({3}, -1, {.dtype = int64}),
            full({2, 2}, int64_t{1} << 40, {.dtype = int64}),
            full({3, 3}, 200, {.dtype = uint8}),
            zeros({2, 3, 4}, {.dtype = float16}),
        };
        for (size_t k = 0; k < nonsense.size(); ++k) {
          INFO(row.name << "/" << sample.label << ", input " << place << ", nonsense " << k);
          std::vector<Tensor> inputs = make_inputs(sample);
          inputs[place] = nonsense[k];
          try {
            sample.call(inputs);
            wait_for_test_device();
          } catch (const Error& error) {
            CHECK(std::string(error.what()).size() > 10);
          } catch (const std::exception& error) {
            FAIL_CHECK("not a gradus::Error: " << error.what());
          }
          forget_faults();
        }
      }
}

// Written out by a hidden test, so that the recording script knows the inputs.
TEST_CASE("print samples", "[.samples]") {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const Row& row : rows())
    for (const Sample& sample : row.samples) {
      nlohmann::ordered_json inputs = nlohmann::ordered_json::array();
      for (const Input& input : sample.inputs)
        inputs.push_back({{"kind", static_cast<int>(input.kind)},
                          {"shape", std::vector<int64_t>(input.shape.begin(), input.shape.end())},
                          {"low", input.low},
                          {"high", input.high}});
      out.push_back({{"op", row.name},
                     {"label", sample.label},
                     {"golden", row.golden},
                     {"order", row.order},
                     {"inputs", inputs}});
    }
  std::ofstream("build/samples.json") << out.dump(1) << '\n';
}

}  // namespace op_table
