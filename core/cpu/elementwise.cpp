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

constexpr bool boolean_result[] = {
#define GRADUS_BOOLEAN_RESULT(name, Functor, arity, kind) elementwise::gives_boolean<elementwise::Functor, arity>(),
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

// How the elements of an operand reach the loop.
struct Route {
  bool direct;          // a block lies in the operand's memory as the loop wants it
  bool repeats;         // each block has the same elements (packed blocks), or each element of a row is the same (rows)
  ConvertLoop convert;  // null where the dtype is the wanted one
};

struct alignas(64) Buffers {
  char operand[max_inputs + 1][block * 8];
  char raw[block * 8];
};

// What the two ways of cutting a strided space into blocks share.
class StridedRun {
 protected:
  StridedRun(const Call& call, const StridedSpace& space) : call_(call), space_(space) {
    for (int k = 0; k <= call.inputs; ++k) {
      const Dtype from = k == 0 ? call.wanted[0] : call.dtype[k], to = k == 0 ? call.dtype[0] : call.wanted[k];
      routes_[k].convert = from == to ? nullptr : isa().convert_loop(from, to);
    }
  }

  int64_t item(int k) const { return itemsize(call_.dtype[k]); }
  // Where raw elements of operand k are gathered: in front of the conversion, if it has one.
  char* gathered(Buffers& buffers, int k) const { return routes_[k].convert ? buffers.raw : buffers.operand[k]; }
  const void* converted(Buffers& buffers, int k, const void* raw, int64_t n) const {
    if (!routes_[k].convert) return raw;
    routes_[k].convert(buffers.operand[k], raw, n);
    return buffers.operand[k];
  }

  const Call& call_;
  const StridedSpace& space_;
  std::array<Route, max_inputs + 1> routes_;
};

// Long rows are cut into blocks; contiguous operands are used where they lie.
class RowRun : StridedRun {
 public:
  RowRun(const Call& call, const StridedSpace& space)
      : StridedRun(call, space), blocks_per_row_((space.inner() + block - 1) / block) {
    for (int k = 0; k <= call.inputs; ++k) {
      Route& route = routes_[k];
      route.direct = space.inner_stride(k) == item(k) && !route.convert;
      route.repeats = k > 0 && space.inner_stride(k) == 0;
      all_direct_ = all_direct_ && route.direct;
    }
  }

  void operator()() const {
    const int64_t blocks = space_.total / space_.inner() * blocks_per_row_;
    parallel_for(0, blocks, blocks_per_task, [this](int64_t first, int64_t last) { task(first, last); });
  }

 private:
  void task(int64_t first, int64_t last) const {
    Buffers buffers;
    RowCursor cursor(space_, first / blocks_per_row_);
    for (int64_t row = first / blocks_per_row_ * blocks_per_row_; row < last; row += blocks_per_row_, cursor.next()) {
      const int64_t begin = std::max<int64_t>(first - row, 0) * block;
      one_row(buffers, cursor, begin, std::min(space_.inner(), (last - row) * block));
    }
  }

  void one_row(Buffers& buffers, const RowCursor& cursor, int64_t begin, int64_t end) const {
    const void* in[max_inputs];
    for (int k = 1; k <= call_.inputs; ++k)
      if (routes_[k].repeats) in[k - 1] = load(buffers, k, cursor.offset(k), std::min(block, end - begin));
    const int64_t step = all_direct_ ? end - begin : block;
    for (int64_t start = begin; start < end; start += step) {
      const int64_t n = std::min(step, end - start);
      for (int k = 1; k <= call_.inputs; ++k)
        if (!routes_[k].repeats) in[k - 1] = load(buffers, k, cursor.offset(k) + start * space_.inner_stride(k), n);
      char* y = call_.at(0, cursor.offset(0) + start * space_.inner_stride(0));
      call_.loop(routes_[0].direct ? y : buffers.operand[0], in, n, *call_.params);
      if (!routes_[0].direct) store(buffers, y, n);
    }
  }

  const void* load(Buffers& buffers, int k, int64_t offset, int64_t n) const {
    const void* raw = call_.at(k, offset);
    if (routes_[k].direct) return raw;
    if (space_.inner_stride(k) != item(k)) {
      char* dense = gathered(buffers, k);
      move_words(dense, item(k), raw, space_.inner_stride(k), item(k), n);
      raw = dense;
    }
    return converted(buffers, k, raw, n);
  }

  void store(Buffers& buffers, char* y, int64_t n) const {
    const void* result = buffers.operand[0];
    if (routes_[0].convert) {
      const bool dense = space_.inner_stride(0) == item(0);
      routes_[0].convert(dense ? y : buffers.raw, result, n);
      if (dense) return;
      result = buffers.raw;
    }
    move_words(y, space_.inner_stride(0), result, item(0), item(0), n);
  }

  int64_t blocks_per_row_;
  bool all_direct_ = true;
};

// Short rows are packed, a whole number of them to a block; what repeats from row to row is gathered once.
class PackedRun : StridedRun {
 public:
  PackedRun(const Call& call, const StridedSpace& space)
      : StridedRun(call, space), size_(block / space.inner() * space.inner()) {
    for (int k = 0; k <= call.inputs; ++k) {
      Route& route = routes_[k];
      dense_[k] = space.is_dense(k, item(k));
      route.direct = dense_[k] && !route.convert;
      route.repeats = k > 0 && space.rows_repeat(k);
    }
  }

  void operator()() const {
    parallel_for(0, (space_.total + size_ - 1) / size_, blocks_per_task,
                 [this](int64_t first, int64_t last) { task(first, last); });
  }

 private:
  void task(int64_t first, int64_t last) const {
    Buffers buffers;
    const void* in[max_inputs];
    for (int k = 1; k <= call_.inputs; ++k)
      if (routes_[k].repeats) in[k - 1] = load(buffers, k, 0, std::min(size_, space_.total));
    for (int64_t position = first * size_; position < std::min(last * size_, space_.total); position += size_) {
      const int64_t n = std::min(size_, space_.total - position);
      for (int k = 1; k <= call_.inputs; ++k)
        if (!routes_[k].repeats) in[k - 1] = load(buffers, k, position, n);
      call_.loop(routes_[0].direct ? call_.at(0, position * item(0)) : buffers.operand[0], in, n, *call_.params);
      if (!routes_[0].direct) store(buffers, position, n);
    }
  }

  const void* load(Buffers& buffers, int k, int64_t position, int64_t n) const {
    if (dense_[k]) return converted(buffers, k, call_.at(k, position * item(k)), n);
    char* dense = gathered(buffers, k);
    gather(dense, call_.at(k, 0), item(k), space_, k, position, n);
    return converted(buffers, k, dense, n);
  }

  void store(Buffers& buffers, int64_t position, int64_t n) const {
    const void* result = buffers.operand[0];
    if (routes_[0].convert) {
      void* to = dense_[0] ? call_.at(0, position * item(0)) : buffers.raw;
      routes_[0].convert(to, result, n);
      if (dense_[0]) return;
      result = buffers.raw;
    }
    scatter(call_.at(0, 0), result, item(0), space_, 0, position, n);
  }

  int64_t size_;
  std::array<bool, max_inputs + 1> dense_;
};

// Elements that are neighbours in memory lie far apart in the walk: a block of it would touch a cache line for each.
bool is_transposed(const Tensor& x) {
  if (x.is_contiguous() || x.numel() < 16 * block || x.strides().back() == 1 || x.strides().back() == 0) return false;
  return std::find(x.strides().begin(), x.strides().end(), 1) != x.strides().end();
}

void run_strided(Call& call, const Tensor& y, std::span<const Tensor* const> inputs) {
  const Tensor* operands[max_inputs + 1] = {&y};
  Tensor copies[max_inputs];
  for (size_t k = 0; k < inputs.size(); ++k) {
    operands[k + 1] = inputs[k];
    if (!y.is_contiguous() || !is_transposed(*inputs[k])) continue;
    copies[k] = dense(*inputs[k]);
    operands[k + 1] = &copies[k];
    call.data[k + 1] = const_cast<void*>(copies[k].raw_data());
  }
  const StridedSpace space = detail::strided_space(std::span(operands, inputs.size() + 1));
  if (space.inner() >= 64)
    RowRun(call, space)();
  else
    PackedRun(call, space)();
}

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
    clash = clash || detail::overlaps_partly(y, x);
  }
  if (clash) {
    // An input is a shifted or transposed window on the output's own memory: compute to a fresh tensor first.
    Tensor fresh = empty(y.shape(), {.dtype = y.dtype()});
    elementwise(op, fresh, inputs, params);
    return kernels::copy(y.device(), y, fresh);
  }
  if (flat) return run_flat(call, numel);
  run_strided(call, y, inputs);
}

[[maybe_unused]] const bool registered = kernels::elementwise.set(DeviceType::cpu, elementwise);

}  // namespace
}  // namespace gradus::cpu
