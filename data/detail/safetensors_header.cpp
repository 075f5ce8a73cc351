// A parser for the one grammar that a safetensors header may have, instead of one for all of JSON: what it has no words
// for cannot come in. It recurses into nothing.
#include <gradus/data/detail/safetensors_header.h>

#include <algorithm>
#include <array>
#include <optional>

#include <gradus/core/detail/check.h>
#include <gradus/data/detail/names.h>

namespace gradus::data::detail {
namespace {

constexpr size_t longest_name = 4096, most_tensors = 1'000'000;

struct DtypeName {
  Dtype dtype;
  std::string_view name;
};
constexpr std::array dtype_names = {DtypeName{float32, "F32"},   DtypeName{float64, "F64"}, DtypeName{float16, "F16"},
                                    DtypeName{bfloat16, "BF16"}, DtypeName{int32, "I32"},   DtypeName{int64, "I64"},
                                    DtypeName{uint8, "U8"},      DtypeName{boolean, "BOOL"}};

void append_utf8(std::string& text, uint32_t code) {
  const auto byte = [&](uint32_t bits) { text += static_cast<char>(bits); };
  if (code < 0x80) {
    byte(code);
  } else if (code < 0x800) {
    byte(0xc0 | code >> 6), byte(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    byte(0xe0 | code >> 12), byte(0x80 | (code >> 6 & 0x3f)), byte(0x80 | (code & 0x3f));
  } else {
    byte(0xf0 | code >> 18), byte(0x80 | (code >> 12 & 0x3f)), byte(0x80 | (code >> 6 & 0x3f)),
        byte(0x80 | (code & 0x3f));
  }
}

class Parser {
 public:
  Parser(std::string_view text, const BrokenRule& broken) : text_(text), broken_(broken) {}
  Header parse();

 private:
  [[noreturn]] void fail(int rule, const std::string& problem) const {
    broken_(rule, fmt::format("{} (byte {} of the header)", problem, at_));
    throw IoError("safetensors: the rule's handler returned");
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\n\r", at_), text_.size()); }
  bool accept(char c) {
    skip_space();
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c, int rule) {
    if (!accept(c)) fail(rule, fmt::format("want '{}'", c));
  }

  std::string string(int rule);
  void escape(std::string& out, int rule);
  uint32_t hex4(int rule);
  int64_t integer();
  template <class Element>
  void array(Element element);
  template <class Member>
  void object(int rule, Member member);

  HeaderEntry entry(std::string name);
  Shape shape(const std::string& name);
  void metadata(Metadata& out);

  std::string_view text_;
  const BrokenRule& broken_;
  size_t at_ = 0;
};

uint32_t Parser::hex4(int rule) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = peek(), lower = static_cast<char>(c | 0x20);
    if (c >= '0' && c <= '9')
      value = value << 4 | static_cast<uint32_t>(c - '0');
    else if (lower >= 'a' && lower <= 'f')
      value = value << 4 | static_cast<uint32_t>(lower - 'a' + 10);
    else
      fail(rule, "want four hexadecimal digits");
  }
  return value;
}

void Parser::escape(std::string& out, int rule) {
  constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
  const char c = peek();
  ++at_;
  if (const size_t known = letters.find(c); c != '\0' && known != std::string_view::npos) {
    out += meanings[known];
    return;
  }
  if (c != 'u') fail(rule, "unknown escape in a string");
  uint32_t code = hex4(rule);
  if (code >= 0xd800 && code < 0xdc00 && text_.substr(at_, 2) == "\\u") {
    at_ += 2;
    const uint32_t low = hex4(rule);
    if (low < 0xdc00 || low > 0xdfff) fail(2, "lone surrogate in a string");
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  } else if (code >= 0xd800 && code <= 0xdfff) {
    fail(2, "lone surrogate in a string");
  }
  if (code == 0) fail(3, "NUL in a string");
  append_utf8(out, code);
}

std::string Parser::string(int rule) {
  expect('"', rule);
  std::string out;
  for (;;) {
    if (at_ >= text_.size()) fail(rule, "a string has no end");
    const char c = text_[at_++];
    if (c == '"') return out;
    if (static_cast<unsigned char>(c) < 0x20) fail(rule, "control character in a string");
    if (c == '\\')
      escape(out, rule);
    else
      out += c;
  }
}

int64_t Parser::integer() {
  skip_space();
  const size_t start = at_;
  int64_t value = 0;
  for (; peek() >= '0' && peek() <= '9'; ++at_)
    if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, peek() - '0', &value))
      fail(4, "the integer is above 2^63 - 1");
  if (at_ == start) fail(4, "want an integer without a sign");
  if (text_[start] == '0' && at_ - start > 1) fail(4, "the integer has a leading zero");
  if (peek() == '.' || peek() == 'e' || peek() == 'E') fail(4, "want an integer without fraction and exponent");
  return value;
}

template <class Element>
void Parser::array(Element element) {
  expect('[', 4);
  if (accept(']')) return;
  do {
    element();
  } while (accept(','));
  expect(']', 4);
}

template <class Member>
void Parser::object(int rule, Member member) {
  expect('{', rule);
  if (accept('}')) return;
  do {
    skip_space();
    std::string key = string(rule);
    expect(':', rule);
    skip_space();
    member(std::move(key));
  } while (accept(','));
  expect('}', rule);
}

Shape Parser::shape(const std::string& name) {
  Shape sizes;
  array([&] {
    const int64_t size = integer();
    if (sizes.rank() == max_rank) fail(5, fmt::format("tensor '{}' has more than {} dims", name, max_rank));
    sizes.push_back(size);
  });
  return sizes;
}

HeaderEntry Parser::entry(std::string name) {
  std::optional<Dtype> dtype;
  std::optional<Shape> sizes;
  std::vector<int64_t> offsets;
  bool has_offsets = false;
  object(4, [&](const std::string& field) {
    const bool again =
        (field == "dtype" && dtype) || (field == "shape" && sizes) || (field == "data_offsets" && has_offsets);
    if (again) fail(3, fmt::format("tensor '{}' has '{}' twice", name, field));
    if (field == "dtype") {
      const std::string wanted = string(4);
      const auto known = std::find_if(dtype_names.begin(), dtype_names.end(),
                                      [&](const DtypeName& candidate) { return candidate.name == wanted; });
      if (known == dtype_names.end())
        fail(4, fmt::format("tensor '{}' has dtype '{}'; Gradus has none such", name, wanted));
      dtype = known->dtype;
    } else if (field == "shape") {
      sizes = shape(name);
    } else if (field == "data_offsets") {
      has_offsets = true;
      array([&] {
        if (offsets.size() == 2) fail(4, fmt::format("tensor '{}': data_offsets has more than two numbers", name));
        offsets.push_back(integer());
      });
    } else {
      fail(4, fmt::format("tensor '{}' has the unknown field '{}'", name, field));
    }
  });
  if (!dtype || !sizes || offsets.size() != 2)
    fail(4, fmt::format("tensor '{}' wants dtype, shape and two data_offsets", name));
  return {std::move(name), *dtype, *sizes, static_cast<uint64_t>(offsets[0]), static_cast<uint64_t>(offsets[1])};
}

void Parser::metadata(Metadata& out) {
  object(3, [&](std::string key) { out.emplace_back(std::move(key), string(3)); });
  std::vector<std::string_view> keys;
  for (const auto& [key, value] : out) keys.push_back(key);
  if (const auto twin = find_twin(std::move(keys))) fail(3, fmt::format("__metadata__ has '{}' twice", *twin));
}

Header Parser::parse() {
  if (text_.empty() || text_.front() != '{') fail(2, "the header does not begin with '{'");
  if (!is_utf8(text_)) fail(2, "the header is not UTF-8");
  Header header;
  bool has_metadata = false;
  object(2, [&](std::string name) {
    if (name.size() > longest_name) fail(3, fmt::format("a name has more than {} bytes", longest_name));
    if (name == "__metadata__") {
      if (std::exchange(has_metadata, true)) fail(3, "__metadata__ comes twice");
      metadata(header.metadata);
    } else {
      if (header.entries.size() == most_tensors) fail(3, fmt::format("more than {} tensors", most_tensors));
      header.entries.push_back(entry(std::move(name)));
    }
  });
  at_ = std::min(text_.find_first_not_of(' ', at_), text_.size());
  if (at_ < text_.size()) fail(2, "only spaces may follow the header's object");
  return header;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", c);
    else
      out += c;
  }
  return out + '"';
}

}  // namespace

Header parse_header(std::string_view text, const BrokenRule& broken) { return Parser(text, broken).parse(); }

std::string header_text(const Header& header) {
  std::string text = "{";
  if (!header.metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : header.metadata) text += quoted(key) + ':' + quoted(value) + ',';
    text.back() = '}';
    text += ',';
  }
  for (const HeaderEntry& entry : header.entries) {
    const auto name = std::find_if(dtype_names.begin(), dtype_names.end(),
                                   [&](const DtypeName& candidate) { return candidate.dtype == entry.dtype; });
    text += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}},", quoted(entry.name),
                        name->name, fmt::join(entry.shape.begin(), entry.shape.end(), ","), entry.begin, entry.end);
  }
  if (text.size() > 1) text.pop_back();
  text += '}';
  return text.append((8 - text.size() % 8) % 8, ' ');
}

}  // namespace gradus::data::detail
