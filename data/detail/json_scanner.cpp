// The characters of JSON: strings with their escapes, integers, and what separates them.
#include <gradus/data/detail/json_scanner.h>

#include <algorithm>

#include <gradus/core/detail/check.h>

namespace gradus::data::detail {
namespace {

constexpr std::string_view space = " \t\n\r";

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

}  // namespace

void JsonScanner::fail(int rule, const std::string& problem) const {
  broken_(rule, fmt::format("{} (byte {})", problem, at_));
  throw IoError("JSON: the rule's handler returned");
}

void JsonScanner::skip(std::string_view padding) {
  at_ = std::min(text_.find_first_not_of(padding, at_), text_.size());
}

bool JsonScanner::accept(char c) {
  skip(space);
  if (peek() != c) return false;
  ++at_;
  return true;
}

void JsonScanner::expect(char c, int rule) {
  if (!accept(c)) fail(rule, fmt::format("want '{}'", c));
}

uint32_t JsonScanner::hex4(int rule) {
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

void JsonScanner::escape(std::string& out, int rule) {
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

std::string JsonScanner::string(int rule) {
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

int64_t JsonScanner::integer(int rule) {
  skip(space);
  const size_t start = at_;
  int64_t value = 0;
  for (; peek() >= '0' && peek() <= '9'; ++at_)
    if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, peek() - '0', &value))
      fail(rule, "the integer is above 2^63 - 1");
  if (at_ == start) fail(rule, "want an integer without a sign");
  if (text_[start] == '0' && at_ - start > 1) fail(rule, "the integer has a leading zero");
  if (peek() == '.' || peek() == 'e' || peek() == 'E') fail(rule, "want an integer without fraction and exponent");
  return value;
}

void JsonScanner::key(std::string_view name, int rule) {
  if (string(rule) != name) fail(rule, fmt::format("want the field '{}'", name));
  expect(':', rule);
}

void JsonScanner::end(std::string_view padding, int rule) {
  skip(padding);
  if (at_ < text_.size()) fail(rule, "nothing but padding may follow the object");
}

std::string json_quoted(std::string_view text) {
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

}  // namespace gradus::data::detail
