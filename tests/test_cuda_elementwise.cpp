// The elementwise slot of a CUDA device, every functor in every dtype and layout, against the CPU's.
#include <gradus/core/elementwise.h>

#include "beside_cpu.h"

using namespace gradus;
using namespace beside_cpu;
using elementwise::Kind;

namespace {

struct Functor {
  Elementwise op;
  const char* name;
  int arity;
  Kind kind;
  bool gives_boolean;
};
const Functor functors[] = {
#define GRADUS_FUNCTOR(name, F, arity, kind) \
  {Elementwise::name, #name, arity, Kind::kind, elementwise::gives_boolean<elementwise::F, arity>()},
    GRADUS_ELEMENTWISE(GRADUS_FUNCTOR)
#undef GRADUS_FUNCTOR
};

bool takes(const Functor& f, Dtype dtype) {
  switch (f.kind) {
    case Kind::numeric: return dtype != boolean;
    case Kind::floating: return is_floating(dtype);
    case Kind::logical: return dtype == boolean;
    default: return true;
  }
}

// Small numbers, none of them 0: integers are divided by some.
Tensor operand(const Shape& shape, Dtype dtype) {
  const Tensor x = values(shape, dtype);
  if (dtype == boolean) return x;
  const Tensor small = is_floating(dtype) ? mul(x.to(float64), 0.05).to(dtype) : x;
  return where(small != 0, small, ones_like(small));
}

Params params_for(Dtype dtype) {
  if (dtype == boolean) return {1, 1};
  return is_floating(dtype) ? Params{0.75, 1.5} : Params{3, 50};
}

Tensor apply(const Functor& f, const std::vector<Tensor>& inputs, Device device) {
  const Dtype dtype = inputs.back().dtype();
  Tensor y = empty(inputs.back().shape(), {.dtype = f.gives_boolean ? boolean : dtype, .device = device});
  std::vector<const Tensor*> operands;
  for (const Tensor& x : inputs) operands.push_back(&x);
  kernels::elementwise(device, f.op, y, operands, params_for(dtype));
  return y;
}

// The operands as `layout` makes them on either device.
template <class Layout>
void check(const Shape& shape, Layout layout) {
  for (const Functor& f : functors)
    for (const Dtype dtype : every_dtype) {
      if (!takes(f, dtype)) continue;
      INFO(f.name << " of " << name(dtype));
      std::vector<Tensor> here, there;
      for (int i = 0; i < f.arity; ++i) {
        const Tensor x = operand(shape, f.kind == Kind::where && i == 0 ? boolean : dtype);
        here.push_back(layout(x));
        there.push_back(layout(x.to(gpu)));
      }
      CHECK(difference(apply(f, there, gpu), apply(f, here, cpu)).empty());
    }
}

}  // namespace

TEST_CASE("functors of contiguous operands") {
  check({1031}, [](const Tensor& x) { return x; });
}

TEST_CASE("functors of operands that no vector access fits") {
  check({77}, [](const Tensor& x) { return shifted(x, 1); });
}

TEST_CASE("functors of transposed and broadcast operands") {
  check({13, 11}, [](const Tensor& x) { return x.t(); });
  check({13, 1}, [](const Tensor& x) { return x.expand({13, 6}); });
}

TEST_CASE("an operand may be a shifted window on the output") {
  const NoGrad no_graph;
  const auto walked = [](const Tensor& x) {
    x.slice(0, 1).add_(x.slice(0, 0, -1));
    return x;
  };
  const Tensor x = values({300}, float32);
  CHECK(same_bits(walked(x.to(gpu)), walked(x.clone())));
}

TEST_CASE("a functor says which dtypes it takes") {
  CHECK_THROWS_AS(
      apply(functors[static_cast<int>(Elementwise::exp)], {zeros({3}, {.dtype = int64, .device = gpu})}, gpu),
      DtypeError);
}
