// Text for people: tensors in aligned columns, NumPy's way.
#include <gradus/core/io.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <mutex>
#include <ostream>
#include <vector>

#include <gradus/core/detail/check.h>

namespace gradus {
namespace {

std::mutex options_mutex;
PrintOptions print_options;

PrintOptions current_options() {
  const std::lock_guard lock(options_mutex);
  return print_options;
}

// The values that will be shown, as doubles (integers below 2^53 are exact; larger ones are printed from the tensor).
class Printer {
 public:
  Printer(const Tensor& x, const PrintOptions& options)
      : x_(dense(x.detach().to(Device::cpu()))), options_(options), summarise_(x.numel() > options.threshold) {
    if (x_.numel() > 0) measure(0, 0);
    for (const int64_t i : shown_) width_ = std::max(width_, cell(i).size());
  }

  std::string text() const {
    if (x_.rank() == 0) return cell(0);
    std::string out;
    append(out, 0, 0);
    return out;
  }

 private:
  // Collects positions of shown elements, and with them whether the floats need an exponent or decimals.
  void measure(int d, int64_t at) {
    if (d == x_.rank()) {
      shown_.push_back(at);
      if (is_floating(x_.dtype())) look_at(value(at));
      return;
    }
    each(
        d, [&](int64_t i) { measure(d + 1, at + i * x_.stride(d)); }, [] {});
  }

  void look_at(double v) {
    if (!std::isfinite(v)) return;
    const double m = std::fabs(v);
    if (v != std::trunc(v)) integral_ = false;
    largest_ = std::max(largest_, m);
    if (m > 0) smallest_ = std::min(smallest_, m);
  }

  template <class F, class G>
  void each(int d, F item, G gap) const {
    const int64_t n = x_.size(d), edge = options_.edge_items;
    for (int64_t i = 0; i < n; ++i) {
      if (summarise_ && n > 2 * edge && i == edge) {
        gap();
        i = n - edge;
      }
      item(i);
    }
  }

  double value(int64_t at) const {
    const Tensor element = as_strided(x_, {}, {}, x_.impl().offset + at);
    return element.item<double>();
  }

  std::string cell(int64_t at) const {
    const Tensor element = as_strided(x_, {}, {}, x_.impl().offset + at);
    if (x_.dtype() == boolean) return element.item<bool>() ? "true" : "false";
    if (!is_floating(x_.dtype())) return fmt::format("{}", element.item<int64_t>());
    const double v = element.item<double>();
    if (!std::isfinite(v)) return std::isnan(v) ? "nan" : v < 0 ? "-inf" : "inf";
    if (integral_ && largest_ < 1e8) return fmt::format("{:.0f}.", v);
    if (largest_ >= 1e8 || smallest_ < 1e-4 || largest_ / smallest_ > 1e5)
      return fmt::format("{:.{}e}", v, options_.precision);
    return fmt::format("{:.{}f}", v, options_.precision);
  }

  void append(std::string& out, int d, int64_t at) const {
    out += '[';
    bool first = true;
    const auto separate = [&] {
      if (first) {
        first = false;
      } else if (d + 1 == x_.rank()) {
        out += ", ";
      } else {
        out += ',';
        out.append(static_cast<size_t>(x_.rank() - d - 1), '\n');
        out.append(static_cast<size_t>(d) + 1, ' ');
      }
    };
    each(
        d,
        [&](int64_t i) {
          separate();
          const int64_t next = at + i * x_.stride(d);
          if (d + 1 < x_.rank())
            append(out, d + 1, next);
          else
            out += fmt::format("{:>{}}", cell(next), width_);
        },
        [&] {
          separate();
          out += "...";
        });
    out += ']';
  }

  Tensor x_;
  PrintOptions options_;
  bool summarise_, integral_ = true;
  double largest_ = 0, smallest_ = 1e300;
  std::vector<int64_t> shown_;
  size_t width_ = 0;
};

}  // namespace

void set_print_options(const PrintOptions& options) {
  GRADUS_CHECK(options.precision >= 0 && options.precision <= 17, ValueError,
               "set_print_options: precision is {}; want 0 to 17", options.precision);
  GRADUS_CHECK(options.edge_items >= 1 && options.threshold >= 0, ValueError,
               "set_print_options: edge_items {} and threshold {}; want at least 1 and 0", options.edge_items,
               options.threshold);
  const std::lock_guard lock(options_mutex);
  print_options = options;
}

std::string to_string(const Tensor& x) {
  if (!x.defined()) return "[ undefined tensor ]";
  return fmt::format("{}\n[ {}{} {}{} ]", Printer(x, current_options()).text(), x.dtype(), x.shape(), x.device(),
                     x.requires_grad() ? " requires_grad" : "");
}

std::ostream& operator<<(std::ostream& stream, const Tensor& x) { return stream << to_string(x); }

namespace detail {
void print_line(std::string_view text) { fmt::print("{}\n", text); }
std::string to_text(double x) { return fmt::format("{}", x); }
}  // namespace detail

}  // namespace gradus
