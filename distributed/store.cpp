// What all stores have in common; the kinds are in store_tcp.cpp, store_file.cpp and store_redis.cpp.
#include <gradus/distributed/store.h>

#include <charconv>
#include <stdexcept>

#include <fmt/format.h>

#include <gradus/distributed/detail/store_kind.h>
#include <gradus/distributed/detail/store_wire.h>

namespace gradus::dist {
namespace detail {

std::string StoreKind::full(const std::string& key) const {
  if (key.empty()) fail(key, "a key has at least one byte");
  std::string name = options_.prefix + key;
  if (name.size() > max_key) fail(key, fmt::format("{} bytes with its prefix; at most {}", name.size(), max_key));
  return name;
}

void StoreKind::check_value(const std::string& key, const std::string& value) const {
  if (value.size() > max_value) fail(key, fmt::format("a value of {} bytes; at most {}", value.size(), max_value));
}

void StoreKind::fail(std::string_view key, std::string_view reason, CommError::Kind kind) const {
  throw CommError(key.empty() ? fmt::format("store {}: {}", url_, reason)
                              : fmt::format("store {}, key \"{}{}\": {}", url_, options_.prefix, key, reason),
                  kind);
}

void StoreKind::fail_missing(std::string_view key, double seconds) const {
  fail(key, fmt::format("not set after {:g} s; the process that sets it may never have started, or be gone", seconds),
       CommError::Kind::timeout);
}

int64_t add_to_text(std::string_view text, int64_t number) {
  int64_t before = 0, sum = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), before);
  if (error != std::errc() || end != text.data() + text.size())
    throw std::runtime_error("add() to a value that is no number");
  if (__builtin_add_overflow(before, number, &sum)) throw std::runtime_error("add() beyond the range of int64");
  return sum;
}

}  // namespace detail

Box<Store> open_store(const std::string& url, const StoreOptions& options) {
  if (url.starts_with("tcp://")) return detail::open_tcp_store(url, options);
  if (url.starts_with("file://")) return detail::open_file_store(url, options);
  if (url.starts_with("redis://")) return detail::open_redis_store(url, options);
  throw CommError(
      fmt::format("store \"{}\": no such kind; there are tcp://host:port, file:///folder and "
                  "redis://host:port",
                  url));
}

}  // namespace gradus::dist
