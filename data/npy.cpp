// NumPy's .npy (format description: numpy.lib.format): a Python literal that says dtype, order and shape, then the
// data. Archives of them are in npz.cpp.
#include <algorithm>
#include <array>
#include <utility>

#include <gradus/autograd/grad_mode.h>
#include <gradus/core/detail/check.h>
#include <gradus/data/detail/npy.h>
#include <gradus/data/detail/output.h>
#include <gradus/data/detail/reader.h>
#include <gradus/data/readers.h>

namespace gradus::data {
namespace {

constexpr std::string_view magic = "\x93NUMPY";

struct TypeName {
  Dtype dtype;
  std::string_view name;  // kind and bytes, behind the byte order
};
constexpr std::array type_names = {TypeName{float32, "f4"}, TypeName{float64, "f8"}, TypeName{float16, "f2"},
                                   TypeName{int32, "i4"},   TypeName{int64, "i8"},   TypeName{uint8, "u1"},
                                   TypeName{boolean, "b1"}};

struct Description {
  Dtype dtype = float32;
  bool big_endian = false, fortran = false;
  Shape shape;
};

/// Reads the one dictionary that a header may be: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }.
class Literal {
 public:
  Literal(std::string text, const detail::Reader& file) : text_(std::move(text)), file_(file) {}
  Description parse();

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    file_.fail(fmt::format("the header is malformed at byte {}: {}", at_, problem));
  }
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  bool accept(std::string_view word) {
    peek();
    if (!std::string_view(text_).substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(fmt::format("want '{}'", c));
  }
  std::string string();
  Shape tuple();
  void type(Description& d);

  std::string text_;
  const detail::Reader& file_;
  size_t at_ = 0;
};

std::string Literal::string() {
  const char quote = peek();
  if (quote != '\'' && quote != '"') fail("want a string");
  const size_t begin = ++at_, end = text_.find(quote, begin);
  if (end == std::string::npos) fail("a string has no end");
  at_ = end + 1;
  return text_.substr(begin, end - begin);
}

Shape Literal::tuple() {
  Shape shape;
  expect('(');
  while (peek() != ')') {
    int64_t size = 0;
    if (peek() < '0' || peek() > '9') fail("want a size");
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
      if (__builtin_mul_overflow(size, 10, &size) || __builtin_add_overflow(size, text_[at_] - '0', &size))
        fail("a size is above 2^63 - 1");
    if (shape.rank() == max_rank) fail(fmt::format("more than {} dims", max_rank));
    shape.push_back(size);
    if (!accept(',') && peek() != ')') fail("want ',' or ')'");
  }
  expect(')');
  return shape;
}

void Literal::type(Description& d) {
  if (peek() == '[') file_.fail("is a structured array; Gradus reads plain ones");
  const std::string descr = string();
  const std::string_view name = std::string_view(descr).substr(descr.empty() ? 0 : 1);
  for (const TypeName& known : type_names) {
    const bool one_byte = itemsize(known.dtype) == 1;
    if (known.name != name || (descr[0] == '|' && !one_byte)) continue;
    if (descr[0] != '<' && descr[0] != '>' && descr[0] != '=' && descr[0] != '|') continue;
    d.dtype = known.dtype;
    d.big_endian = descr[0] == '>' && !one_byte;
    return;
  }
  file_.fail(fmt::format("has dtype '{}'; Gradus has none such", descr.substr(0, 20)));
}

Description Literal::parse() {
  Description d;
  int types = 0, orders = 0, shapes = 0;
  expect('{');
  while (peek() != '}') {
    const std::string key = string();
    expect(':');
    if (key == "descr" && types++ == 0) {
      type(d);
    } else if (key == "fortran_order" && orders++ == 0) {
      d.fortran = accept("True");
      if (!d.fortran && !accept("False")) fail("want True or False");
    } else if (key == "shape" && shapes++ == 0) {
      d.shape = tuple();
    } else {
      fail(fmt::format("key '{}' is unknown or comes twice", key.substr(0, 40)));
    }
    if (!accept(',') && peek() != '}') fail("want ',' or '}'");
  }
  expect('}');
  if (peek() != '\0') fail("text behind the dictionary");
  if (types + orders + shapes != 3) fail("want descr, fortran_order and shape");
  return d;
}

}  // namespace

Tensor detail::read_npy(Reader& file) {
  if (file.text(magic.size(), "the magic text") != magic) file.fail("no .npy file: the magic text is missing");
  const auto major = file.little<uint8_t>("the version"), minor = file.little<uint8_t>("the version");
  if (major < 1 || major > 3 || minor != 0) file.fail(fmt::format("has version {}.{}; want 1.0 to 3.0", major, minor));
  const uint64_t length =
      major == 1 ? file.little<uint16_t>("the header's length") : file.little<uint32_t>("the header's length");
  Description d = Literal(file.text(length, "the header"), file).parse();
  Shape dims;
  if (d.fortran) {
    std::reverse(d.shape.begin(), d.shape.end());
    for (int i = d.shape.rank(); i-- > 0;) dims.push_back(i);
  }
  const Tensor x = file.tensor(d.shape, d.dtype, "the data");
  file.expect_end("the data");
  if (d.big_endian) swap_bytes(x);
  const NoGrad no_graph;
  return d.fortran && x.rank() > 1 ? x.permute(dims).contiguous() : x;
}

std::string detail::npy_header(const char* op, const std::string& name, const Tensor& x) {
  gradus::detail::check_defined(op, name.c_str(), x);
  const auto type = std::find_if(type_names.begin(), type_names.end(),
                                 [&](const TypeName& known) { return known.dtype == x.dtype(); });
  GRADUS_CHECK(type != type_names.end(), DtypeError, "{}: {} is {}, which NumPy has not; convert with x.to(float32)",
               op, name, x.dtype());
  std::string text = fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}{}), }}",
                                 itemsize(x.dtype()) == 1 ? '|' : '<', type->name,
                                 fmt::join(x.shape().begin(), x.shape().end(), ", "), x.rank() == 1 ? "," : "");
  constexpr size_t alignment = 64, before = 10;  // magic, version, length
  text.append(alignment - 1 - (before + text.size()) % alignment, ' ') += '\n';
  std::string header(magic);
  header += {'\1', '\0', static_cast<char>(text.size() & 0xff), static_cast<char>(text.size() >> 8)};
  return header + text;
}

Tensor load_npy(const std::string& path) {
  detail::Reader file("load_npy", path);
  return detail::read_npy(file);
}

void save_npy(const std::string& path, const Tensor& x) {
  const std::string header = detail::npy_header("save_npy", "x", x);
  const Tensor data = dense(x.detach().to(Device::cpu()));
  detail::write_atomically("save_npy", path, [&](detail::Output& output) {
    output.write(header);
    output.write(data.raw_data(), static_cast<size_t>(data.nbytes()));
  });
}

}  // namespace gradus::data
