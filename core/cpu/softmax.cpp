// CPU kernels: softmax and log-softmax over the last dim, and their derivatives.
#include <gradus/core/cpu/detail/rows.h>
#include <gradus/core/kernels.h>

namespace gradus::cpu {
namespace {

// Calls one of the loops, chosen by `call`, over the rows of y and the inputs.
template <size_t inputs, class Call>
void each_row(Tensor& y, const Tensor* const (&x)[inputs], Call call) {
  const Rows rows(y);
  dispatch_floating(y.dtype(), [&]<class S>() {
    const auto& loops = loops_of<Compute<S>>(isa().softmax_loops_f32(), isa().softmax_loops_f64());
    map_rows<S>(rows, y, x,
                [&](auto* out, const auto& in, int64_t, int64_t count) { call(loops, out, in, count, rows.n); });
  });
}

void softmax(Tensor& y, const Tensor& x) {
  each_row(y, {&x}, [](const auto& loops, auto* out, const auto& in, int64_t count, int64_t n) {
    loops.softmax(out, in[0], count, n);
  });
}

void softmax_backward(Tensor& dx, const Tensor& g, const Tensor& y) {
  each_row(dx, {&g, &y}, [](const auto& loops, auto* out, const auto& in, int64_t count, int64_t n) {
    loops.softmax_backward(out, in[0], in[1], count, n);
  });
}

void log_softmax(Tensor& y, const Tensor& x) {
  each_row(y, {&x}, [](const auto& loops, auto* out, const auto& in, int64_t count, int64_t n) {
    loops.log_softmax(out, in[0], count, n);
  });
}

void log_softmax_backward(Tensor& dx, const Tensor& g, const Tensor& y) {
  each_row(dx, {&g, &y}, [](const auto& loops, auto* out, const auto& in, int64_t count, int64_t n) {
    loops.log_softmax_backward(out, in[0], in[1], count, n);
  });
}

[[maybe_unused]] const bool registered = kernels::softmax.set(DeviceType::cpu, softmax) &&
                                         kernels::softmax_backward.set(DeviceType::cpu, softmax_backward) &&
                                         kernels::log_softmax.set(DeviceType::cpu, log_softmax) &&
                                         kernels::log_softmax_backward.set(DeviceType::cpu, log_softmax_backward);

}  // namespace
}  // namespace gradus::cpu
