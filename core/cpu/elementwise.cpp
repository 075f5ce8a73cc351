// The elementwise engine: brings any operands (strided, broadcast, 16-bit floats) to the contiguous loops of the
// instruction set, in blocks that stay in the L1 cache. What the loops compute is in core/elementwise.h.
#include <algorithm>
#include <array>

#include <gradus/core/cpu/detail/strided.h>
#include <gradus/core/cpu/isa/functions.h>
#include <gradus/core/detail/check.h>
#include <gradus/core/factories.h>
#include <gradus/core/kernels.h>
#include <gradus/core/parallel.h>

namespace gradus::cpu {
namespace {

// Work is cut into blocks of fixed size, the same for every number of threads, so that an element is always computed
// by the same instructions (a vector or the scalar rest).
constexpr int64_t block = 512, blocks_per_task = 64;
constexpr int max_inputs = StridedSpace::max_operands - 1;

constexpr const char* names[] = {
#define GRADUS_ELEMENTWISE_NAME(name, Functor, arity, kind) #name,
    GRADUS_ELEMENTWISE(GRADUS_ELEMENTWISE_NAME)
#undef GRADUS_ELEMENTWISE_NAME
};

template <template <class> class Functor, int arity>
constexpr bool gives_boolean() {
  if constexpr (arity == 1)
    return std::is_same_v<std::invoke_result_t<Functor<float>, float>, bool>;
  else if constexpr (arity == 2)
    return std::is_same_v<std::invoke_result_t<Functor<float>, float, float>, bool>;
  else
    return false;
}
constexpr bool boolean_result[] = {
#define GRADUS_BOOLEAN_RESULT(name, Functor, arity, kind) gives_boolean<elementwise::Functor, arity>(),
    GRADUS_ELEMENTWISE(GRADUS_BOOLEAN_RESULT)
#undef GRADUS_BOOLEAN_RESULT
};

constexpr Dtype compute_dtype(Dtype dtype) { return dtype == float16 || dtype == bfloat16 ? float32 : dtype; }

// One call: the loop, and for each operand (0 is the output) its memory, its dtype and the one that the loop wants.
struct Call {
  ElementwiseLoop loop;
  const Params* params;
  int inputs;
  std::array<void*, max_inputs + 1> data;
  std::array<Dtype, max_inputs + 1> dtype, wanted;

  char* at(int k, int64_t bytes) const { return static_cast<char*>(data[static_cast<size_t>(k)]) + bytes; }
};

// Every operand is contiguous, of the wanted dtype and as large as the output.
void run_flat(const Call& call, int64_t numel) {
  const auto piece = [&](int64_t first, int64_t last) {
    const void* in[max_inputs];
    for (int k = 1; k <= call.inputs; ++k) in[k - 1] = call.at(k, first * itemsize(call.wanted[k]));
    call.loop(call.at(0, first * itemsize(call.wanted[0])), in, last - first, *call.params);
  };
  if (numel <= block * blocks_per_task) return piece(0, numel);
  parallel_for(0, (numel + block - 1) / block, blocks_per_task,
               [&](int64_t first, int64_t last) { piece(first * block, std::min(numel, last * block)); });
}

// How the elements of an operand in a block reach the loop.
struct Route {
  bool in_place;    // the block lies in the operand's memory as the loop wants it
  bool contiguous;  // it lies there in order, but in another dtype
  bool constant;    // one value for all
  ConvertLoop convert;
};

// Runs over blocks of a strided space. Long inner dims are cut row by row, so that a row's contiguous operands are used
// where they lie; short ones are gathered, many rows to a block.
class StridedRun {
 public:
  StridedRun(const Call& call, const StridedSpace& space) : call_(call), space_(space), by_rows_(space.inner() >= 64) {
    blocks_per_row_ = by_rows_ ? (space.inner() + block - 1) / block : 1;
    blocks_ = by_rows_ ? space.total / space.inner() * blocks_per_row_ : (space.total + block - 1) / block;
    for (int k = 0; k <= call.inputs; ++k) {
      const int64_t item = itemsize(call.dtype[k]);
      const bool in_order = space.is_dense(k, item) || (by_rows_ && space.inner_stride(k) == item);
      const bool native = call.dtype[k] == call.wanted[k];
      const bool in_place = in_order && native;  // so may a single value be, and needs no copies then
      routes_[k] = {in_place, in_order, space.is_constant(k) && k > 0 && !in_place, nullptr};
      if (!native)
        routes_[k].convert = k == 0 ? isa().convert_loop(call.wanted[k], call.dtype[k])
                                    : isa().convert_loop(call.dtype[k], call.wanted[k]);
    }
  }

  void operator()() const {
    parallel_for(0, blocks_, blocks_per_task, [this](int64_t first, int64_t last) { task(first, last); });
  }

 private:
  struct alignas(64) Buffers {
    char operand[max_inputs + 1][block * 8];
    char raw[block * 8];
  };

  void task(int64_t first, int64_t last) const {
    Buffers buffers;
    for (int k = 1; k <= call_.inputs; ++k)
      if (routes_[k].constant) load(buffers, k, 0, std::min(block, space_.total));
    for (int64_t b = first; b < last; ++b) {
      if (by_rows_) {
        const int64_t row = b / blocks_per_row_, start = b % blocks_per_row_ * block;
        one_block(buffers, row * space_.inner() + start, std::min(block, space_.inner() - start));
      } else {
        one_block(buffers, b * block, std::min(block, space_.total - b * block));
      }
    }
  }

  void one_block(Buffers& buffers, int64_t position, int64_t n) const {
    const void* in[max_inputs];
    for (int k = 1; k <= call_.inputs; ++k)
      in[k - 1] = routes_[k].constant ? buffers.operand[k] : load(buffers, k, position, n);
    const Route& out = routes_[0];
    void* y = out.in_place ? call_.at(0, space_.offset(0, position)) : buffers.operand[0];
    call_.loop(y, in, n, *call_.params);
    if (!out.in_place) store(buffers, position, n);
  }

  // The elements of input k as the loop wants them.
  const void* load(Buffers& buffers, int k, int64_t position, int64_t n) const {
    const Route& route = routes_[k];
    if (route.in_place) return call_.at(k, space_.offset(k, position));
    const void* raw;
    if (route.contiguous && !route.constant) {
      raw = call_.at(k, space_.offset(k, position));
    } else {
      char* to = route.convert ? buffers.raw : buffers.operand[k];
      gather(to, call_.at(k, 0), itemsize(call_.dtype[k]), space_, k, position, n);
      raw = to;
    }
    if (route.convert) route.convert(buffers.operand[k], raw, n);
    return buffers.operand[k];
  }

  void store(Buffers& buffers, int64_t position, int64_t n) const {
    const Route& out = routes_[0];
    const void* result = buffers.operand[0];
    if (out.convert) {
      void* to = out.contiguous ? call_.at(0, space_.offset(0, position)) : buffers.raw;
      out.convert(to, result, n);
      result = buffers.raw;
    }
    if (!out.contiguous) scatter(call_.at(0, 0), result, itemsize(call_.dtype[0]), space_, 0, position, n);
  }

  const Call& call_;
  const StridedSpace& space_;
  bool by_rows_;
  int64_t blocks_per_row_, blocks_;
  std::array<Route, max_inputs + 1> routes_;
};

void elementwise(Elementwise op, Tensor& y, std::span<const Tensor* const> inputs, const Params& params) {
  const int64_t numel = y.numel();
  const Dtype dtype = inputs.back()->dtype(), compute = compute_dtype(dtype);
  Call call{isa().elementwise_loop(op, compute), &params, static_cast<int>(inputs.size()), {}, {}, {}};
  const int index = static_cast<int>(op);
  GRADUS_CHECK(call.loop, DtypeError, "{}: {} is not supported; convert with x.to(...)", names[index], dtype);
  if (numel == 0) return;

  call.data[0] = const_cast<void*>(y.raw_data());
  call.dtype[0] = y.dtype();
  call.wanted[0] = boolean_result[index] ? boolean : compute;
  bool flat = y.is_contiguous() && call.dtype[0] == call.wanted[0], clash = false;
  for (size_t k = 1; k <= inputs.size(); ++k) {
    const Tensor& x = *inputs[k - 1];
    call.data[k] = const_cast<void*>(x.raw_data());
    call.dtype[k] = x.dtype();
    call.wanted[k] = op == Elementwise::where && k == 1 ? boolean : compute;
    flat = flat && x.is_contiguous() && x.numel() == numel && call.dtype[k] == call.wanted[k];
    clash = clash || overlaps_partly(y, x);
  }
  if (clash) {
    // An input is a shifted or transposed window on the output's own memory: compute to a fresh tensor first.
    Tensor fresh = empty(y.shape(), {.dtype = y.dtype()});
    elementwise(op, fresh, inputs, params);
    return kernels::copy(y.device(), y, fresh);
  }
  if (flat) return run_flat(call, numel);
  const Tensor* operands[max_inputs + 1] = {&y};
  std::copy(inputs.begin(), inputs.end(), operands + 1);
  const StridedSpace space = strided_space(std::span(operands, inputs.size() + 1));
  StridedRun(call, space)();
}

[[maybe_unused]] const bool registered = kernels::elementwise.set(DeviceType::cpu, elementwise);

}  // namespace
}  // namespace gradus::cpu
