// Reads JSON (RFC 8259) by a grammar that the caller gives: what the grammar has no words for cannot come in. It
// recurses into nothing and takes no memory but that of the strings that it returns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace gradus::data::detail {

/// Receives the number of the rule that is broken, and how; throws.
using BrokenRule = std::function<void(int rule, const std::string& problem)>;

/// Walks through a text from front to back. Each method that wants something is told the number of the rule which is
/// broken when something else comes; in strings, a lone surrogate breaks rule 2 and a NUL rule 3 always.
class JsonScanner {
 public:
  /// Both must outlive the scanner.
  JsonScanner(std::string_view text, const BrokenRule& broken) : text_(text), broken_(broken) {}

  [[noreturn]] void fail(int rule, const std::string& problem) const;
  /// Goes behind `c`, if it comes next.
  bool accept(char c);
  void expect(char c, int rule);
  std::string string(int rule);
  /// 0 to 2^63 - 1, in plain decimal digits.
  int64_t integer(int rule);
  /// A member of this name, up to its value.
  void key(std::string_view name, int rule);
  template <class Element>
  void array(int rule, Element element);
  /// Gives each member's name to `member`, which reads its value.
  template <class Member>
  void object(int rule, Member member);
  /// Only characters of `padding` may be left.
  void end(std::string_view padding, int rule);

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip(std::string_view padding);
  void escape(std::string& out, int rule);
  uint32_t hex4(int rule);

  std::string_view text_;
  const BrokenRule& broken_;
  size_t at_ = 0;
};

template <class Element>
void JsonScanner::array(int rule, Element element) {
  expect('[', rule);
  if (accept(']')) return;
  do {
    element();
  } while (accept(','));
  expect(']', rule);
}

template <class Member>
void JsonScanner::object(int rule, Member member) {
  expect('{', rule);
  if (accept('}')) return;
  do {
    std::string name = string(rule);
    expect(':', rule);
    member(std::move(name));
  } while (accept(','));
  expect('}', rule);
}

/// A string as it stands in JSON.
std::string json_quoted(std::string_view text);

}  // namespace gradus::data::detail
