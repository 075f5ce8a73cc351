// Convolution by oneDNN, for float32 and, where the CPU has it, bfloat16. Its fast code wants blocked layouts: a piece
// of the batch is brought into them, computed and brought back while it is in the cache.
#include <gradus/core/cpu/detail/conv.h>
#include <gradus/core/cpu/detail/onednn.h>

#ifdef GRADUS_HAVE_ONEDNN

#include <algorithm>
#include <cstring>
#include <string_view>

#include <gradus/core/cpu/detail/onednn_call.h>
#include <gradus/core/cpu/detail/scratch.h>

namespace gradus::cpu::onednn {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

constexpr char op[] = "conv2d";

dnnl::primitive_attr own_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

// One operand in Gradus's layout and in the one that the convolution wants, with the way from one to the other.
class Operand {
 public:
  Operand() = default;
  Operand(const memory::desc& plain, const memory::desc& inner, bool is_output) : plain_(plain), inner_(inner) {
    const memory::desc &from = is_output ? inner : plain, &to = is_output ? plain : inner;
    const dnnl::reorder::primitive_desc change(engine(), from, engine(), to, own_scratchpad());
    scratchpad_ = change.scratchpad_desc();
    change_ = dnnl::reorder(change);
  }
  bool differs() const { return plain_ != inner_; }
  int64_t inner_bytes() const { return static_cast<int64_t>(inner_.get_size()); }
  int64_t scratchpad_bytes() const { return static_cast<int64_t>(scratchpad_.get_size()); }
  memory plain(void* data) const { return memory(plain_, engine(), data); }
  memory inner(void* data) const { return memory(inner_, engine(), data); }
  void change(const memory& from, const memory& to, void* scratchpad) const {
    execute(
        op, change_,
        {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, memory(scratchpad_, engine(), scratchpad)}});
  }

 private:
  memory::desc plain_, inner_, scratchpad_;
  dnnl::reorder change_;
};

// What oneDNN is told about a geometry.
struct Description {
  memory::desc x, w, bias, y;  // Gradus's layouts
  memory::desc inner_x, inner_w, inner_y;
  memory::dims stride, dilation, padding;

  Description(ConvPass pass, const ConvShape& s, Dtype dtype)
      : stride{s.args.window.stride[0], s.args.window.stride[1]},
        dilation{s.args.window.dilation[0] - 1, s.args.window.dilation[1] - 1},
        padding{s.args.window.padding[0], s.args.window.padding[1]} {
    const Type type = dtype == bfloat16 ? Type::bf16 : Type::f32;
    const int64_t groups = s.args.groups, kh = s.args.window.kernel[0], kw = s.args.window.kernel[1];
    const memory::dims x_dims{s.images, s.channels, s.height, s.width},
        y_dims{s.images, s.outputs, s.out_height, s.out_width};
    const memory::dims w_dims = groups == 1 ? memory::dims{s.outputs, s.channels, kh, kw}
                                            : memory::dims{groups, s.outputs / groups, s.channels / groups, kh, kw};
    x = {x_dims, type, Tag::nchw};
    y = {y_dims, type, Tag::nchw};
    w = {w_dims, type, groups == 1 ? Tag::oihw : Tag::goihw};
    bias = {{s.outputs}, type, Tag::a};
    const Tag tag = layout(pass, s);
    inner_x = {x_dims, type, tag};
    inner_y = {y_dims, type, tag};
    inner_w = {w_dims, pass == ConvPass::backward_weight ? Type::f32 : type, Tag::any};
  }

 private:
  // oneDNN's own choice, but for few channels in the gradient of the input: there it pads them to 16, and its GEMM on
  // NCHW, or NHWC when the padded ones are those of y, was 3 times faster.
  static Tag layout(ConvPass pass, const ConvShape& s) {
    if (pass != ConvPass::backward_input || s.args.groups != 1) return Tag::any;
    return s.outputs < 16 ? Tag::nhwc : s.channels < 8 ? Tag::nchw : Tag::any;
  }
};

constexpr auto direct = dnnl::algorithm::convolution_direct;

dnnl::convolution_forward::primitive_desc forward(const Description& d) {
  return {{dnnl::prop_kind::forward_training, direct, d.inner_x, d.inner_w, d.bias, d.inner_y, d.stride, d.dilation,
           d.padding, d.padding},
          own_scratchpad(),
          engine()};
}
dnnl::convolution_backward_data::primitive_desc backward_input(const Description& d) {
  return {{direct, d.inner_x, d.inner_w, d.inner_y, d.stride, d.dilation, d.padding, d.padding},
          own_scratchpad(),
          engine(),
          forward(d)};
}
dnnl::convolution_backward_weights::primitive_desc backward_weight(const Description& d) {
  return {{direct, d.inner_x, d.inner_w, d.inner_y, d.stride, d.dilation, d.padding, d.padding},
          own_scratchpad(),
          engine(),
          forward(d)};
}

class Plan final : public ConvPlan {
 public:
  Plan(ConvPass pass, const ConvShape& shape, Dtype dtype) : pass_(pass) {
    const Description d(pass, shape, dtype);
    bias_ = d.bias;
    if (pass == ConvPass::forward) {
      const auto chosen = forward(d);
      finish<dnnl::convolution_forward>(chosen, d, chosen.src_desc(), chosen.weights_desc(), chosen.dst_desc());
    } else if (pass == ConvPass::backward_input) {
      const auto chosen = backward_input(d);
      finish<dnnl::convolution_backward_data>(chosen, d, chosen.diff_src_desc(), chosen.weights_desc(),
                                              chosen.diff_dst_desc());
    } else {
      const auto chosen = backward_weight(d);
      finish<dnnl::convolution_backward_weights>(chosen, d, chosen.src_desc(), chosen.diff_weights_desc(),
                                                 chosen.diff_dst_desc());
    }
  }

  /// Whether oneDNN has code for it that is more than a plain loop.
  bool is_good() const { return good_; }

  int64_t packed_bytes() const override { return w_.inner_bytes(); }
  bool packs() const override { return w_.differs(); }
  void pack(const void* plain, void* packed) const override {
    const OneThread one;
    const Scratch scratch(w_.scratchpad_bytes());
    w_.change(w_.plain(const_cast<void*>(plain)), w_.inner(packed), scratch.data());
  }
  void unpack(const void* packed, void* plain) const override {
    const OneThread one;
    const Scratch scratch(w_.scratchpad_bytes());
    w_.change(w_.inner(const_cast<void*>(packed)), w_.plain(plain), scratch.data());
  }

  int64_t scratch_bytes() const override { return at_scratchpad_ + scratchpad_bytes_; }

  void run(const ConvOperands& operands, bool accumulate, void* scratch) const override {
    const OneThread one;
    char* const base = static_cast<char*>(scratch);
    char* const scratchpad = base + at_scratchpad_;
    const memory x = x_.inner(x_.differs() ? base : operands.x), y = y_.inner(y_.differs() ? base + at_y_ : operands.y);
    void* const w = accumulate ? base + at_w_ : operands.w;
    if (x_.differs() && pass_ != ConvPass::backward_input) x_.change(x_.plain(operands.x), x, scratchpad);
    if (y_.differs() && pass_ != ConvPass::forward) y_.change(y_.plain(operands.y), y, scratchpad);
    std::unordered_map<int, memory> args = {
        {pass_ == ConvPass::backward_input ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, x},
        {pass_ == ConvPass::backward_weight ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, w_.inner(w)},
        {pass_ == ConvPass::forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, y},
        {DNNL_ARG_SCRATCHPAD, memory(scratchpad_, engine(), scratchpad)}};
    if (pass_ == ConvPass::forward) {
      void* const zeros = base + at_w_;
      if (!operands.bias) std::memset(zeros, 0, bias_.get_size());
      args.emplace(DNNL_ARG_BIAS, memory(bias_, engine(), operands.bias ? const_cast<void*>(operands.bias) : zeros));
    }
    execute(op, convolution_, args);
    if (x_.differs() && pass_ == ConvPass::backward_input) x_.change(x, x_.plain(operands.x), scratchpad);
    if (y_.differs() && pass_ == ConvPass::forward) y_.change(y, y_.plain(operands.y), scratchpad);
    if (accumulate) {
      float* const sum = static_cast<float*>(operands.w);
      const float* const part = static_cast<const float*>(w);
      const int64_t count = w_.inner_bytes() / 4;  // asking oneDNN takes longer than adding
      for (int64_t i = 0; i < count; ++i) sum[i] += part[i];
    }
  }

 private:
  template <class Primitive, class Chosen>
  void finish(const Chosen& chosen, const Description& d, const memory::desc& x, const memory::desc& w,
              const memory::desc& y) {
    good_ = !std::string_view(chosen.impl_info_str()).starts_with("ref");
    convolution_ = Primitive(chosen);
    scratchpad_ = chosen.scratchpad_desc();
    x_ = Operand(d.x, x, pass_ == ConvPass::backward_input);
    w_ = Operand(d.w, w, pass_ == ConvPass::backward_weight);
    y_ = Operand(d.y, y, pass_ == ConvPass::forward);
    // The scratch memory: x, y and a gradient of w (or a bias of zeros) in the inner layouts, then the scratchpads,
    // which are needed one at a time.
    at_y_ = x_.differs() ? aligned(x_.inner_bytes()) : 0;
    at_w_ = at_y_ + (y_.differs() ? aligned(y_.inner_bytes()) : 0);
    at_scratchpad_ = at_w_ + aligned(pass_ == ConvPass::forward           ? static_cast<int64_t>(bias_.get_size())
                                     : pass_ == ConvPass::backward_weight ? w_.inner_bytes()
                                                                          : 0);
    scratchpad_bytes_ =
        std::max({static_cast<int64_t>(scratchpad_.get_size()), x_.scratchpad_bytes(), y_.scratchpad_bytes()});
  }

  const ConvPass pass_;
  bool good_ = false;
  Operand x_, w_, y_;
  memory::desc bias_, scratchpad_;
  dnnl::primitive convolution_;
  int64_t at_y_ = 0, at_w_ = 0, at_scratchpad_ = 0, scratchpad_bytes_ = 0;
};

bool supports(Dtype dtype) {
#if defined(__x86_64__)
  static const bool has_bf16 = __builtin_cpu_supports("avx512bf16");
  return dtype == float32 || (dtype == bfloat16 && has_bf16);
#else
  return dtype == float32;
#endif
}

}  // namespace

std::shared_ptr<const ConvPlan> conv_plan(ConvPass pass, const ConvShape& shape, Dtype dtype) {
  if (!enabled() || !supports(dtype)) return nullptr;
  const OneThread one;
  try {
    auto plan = std::make_shared<const Plan>(pass, shape, dtype);
    return plan->is_good() ? plan : nullptr;
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_unimplemented) return nullptr;
    throw_failed(op, error.status);
  }
}

}  // namespace gradus::cpu::onednn

#else

namespace gradus::cpu::onednn {
std::shared_ptr<const ConvPlan> conv_plan(ConvPass, const ConvShape&, Dtype) { return nullptr; }
}  // namespace gradus::cpu::onednn

#endif
