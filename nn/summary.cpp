// How a summary is taken, by hooks during one forward, and printed.
#include <gradus/nn/summary.h>

#include <algorithm>
#include <array>

#include <gradus/core/detail/check.h>
#include <gradus/nn/detail/type_name.h>
#include <gradus/nn/evaluate.h>

namespace gradus::nn {
namespace {

// "1,234,567".
std::string grouped(int64_t n) {
  std::string text = std::to_string(n);
  for (auto at = static_cast<int64_t>(text.size()) - 3; at > 0; at -= 3) text.insert(static_cast<size_t>(at), 1, ',');
  return text;
}

std::string in_bytes(int64_t n) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(n);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(units); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", n) : fmt::format("{:.2f} {}", value, units[unit]);
}

int depth_of(const std::string& name) {
  return name.empty() ? 0 : 1 + static_cast<int>(std::count(name.begin(), name.end(), '.'));
}

// Counts what the modules do while it lives.
class Observation {
 public:
  Observation(const std::vector<NamedModule>& modules, std::vector<SummaryRow>& rows) : modules_(modules) {
    for (size_t i = 0; i < modules.size(); ++i) {
      Module& m = *modules[i].module;
      hooks_.push_back(m.register_forward_hook([&row = rows[i]](Module& self, const Tensor& x, const Tensor& y) {
        ++row.calls;
        if (y.defined()) {
          row.output = y.shape();
          row.output_bytes += y.nbytes();
          if (x.defined()) row.macs += self.macs(x.shape(), y.shape());
        }
        return Tensor();
      }));
    }
  }
  ~Observation() {
    for (size_t i = 0; i < modules_.size(); ++i) modules_[i].module->remove_hook(hooks_[i]);
  }
  Observation(const Observation&) = delete;
  Observation& operator=(const Observation&) = delete;

 private:
  const std::vector<NamedModule>& modules_;
  std::vector<int64_t> hooks_;
};

// Adds what each module did to the module around it; rows are in depth-first order.
void sum_inwards_out(std::vector<SummaryRow>& rows) {
  std::vector<size_t> parent(rows.size()), last_at(rows.size() + 1);
  for (size_t i = 0; i < rows.size(); ++i) {
    last_at[static_cast<size_t>(rows[i].depth)] = i;
    if (i > 0) parent[i] = last_at[static_cast<size_t>(rows[i].depth) - 1];
  }
  for (size_t i = rows.size(); i-- > 1;) rows[parent[i]].macs += rows[i].macs;
}

bool is_leaf(const std::vector<SummaryRow>& rows, size_t i) {
  return i + 1 == rows.size() || rows[i + 1].depth <= rows[i].depth;
}

}  // namespace

namespace detail {

Summary summarise(Module& module, const Tensor& input, const std::function<void(const Tensor&)>& run) {
  const std::vector<NamedModule> modules = module.named_modules();
  Summary s;
  s.input = input.shape();
  s.input_bytes = input.nbytes();
  for (const auto& [name, m] : modules)
    s.rows.push_back({name, type_name(typeid(*m)), depth_of(name), {}, 0, m->num_parameters(), 0, 0});
  {
    const Evaluation scope(module);
    const Observation observation(modules, s.rows);
    run(input);
  }
  sum_inwards_out(s.rows);
  s.macs = s.rows[0].macs;
  for (size_t i = 0; i < s.rows.size(); ++i)
    if (is_leaf(s.rows, i)) s.activation_bytes += s.rows[i].output_bytes;
  for (const auto& [name, x] : module.parameters()) {
    s.parameters += x.numel();
    s.parameter_bytes += x.nbytes();
    if (x.requires_grad()) s.trainable_parameters += x.numel();
  }
  for (const auto& [name, x] : module.buffers()) s.buffer_bytes += x.nbytes();
  return s;
}

}  // namespace detail

std::string to_string(const Summary& s) {
  using Line = std::array<std::string, 5>;
  std::vector<Line> lines{{"layer", "type", "output", "parameters", "multiply-adds"}};
  for (const SummaryRow& row : s.rows) {
    const std::string last = row.name.substr(row.name.rfind('.') + 1);
    const auto number = [](int64_t n) { return n > 0 ? grouped(n) : std::string("-"); };
    lines.push_back({std::string(2 * static_cast<size_t>(std::max(row.depth - 1, 0)), ' ') + last, row.type,
                     row.output ? to_string(*row.output) : "-", number(row.parameters), number(row.macs)});
  }
  std::array<size_t, 5> width{};
  for (const Line& line : lines)
    for (size_t c = 0; c < line.size(); ++c) width[c] = std::max(width[c], line[c].size());

  std::string rule, text;
  for (const size_t w : width)
    for (size_t i = 0; i < w + 2; ++i) rule += "-";
  rule += '\n';
  for (size_t i = 0; i < lines.size(); ++i) {
    const Line& l = lines[i];
    text += fmt::format("{:<{}}  {:<{}}  {:<{}}  {:>{}}  {:>{}}\n", l[0], width[0], l[1], width[1], l[2], width[2],
                        l[3], width[3], l[4], width[4]);
    if (i == 0) text += rule;
  }
  text += rule;
  text += fmt::format("parameters     {} ({}), {} trainable\n", grouped(s.parameters), in_bytes(s.parameter_bytes),
                      grouped(s.trainable_parameters));
  if (s.buffer_bytes > 0) text += fmt::format("buffers        {}\n", in_bytes(s.buffer_bytes));
  text += fmt::format("multiply-adds  {} for input {} ({})\n", grouped(s.macs), s.input, in_bytes(s.input_bytes));
  text += fmt::format("activations    {} out of the layers", in_bytes(s.activation_bytes));
  return text;
}

}  // namespace gradus::nn
