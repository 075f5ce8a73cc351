// What the kinds of stores share: how they name themselves in errors, the prefix of their keys, one caller at a time.
#pragma once

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include <gradus/core/error.h>
#include <gradus/distributed/detail/deadline.h>
#include <gradus/distributed/store.h>

namespace gradus::dist::detail {

class StoreKind : public Store {
 public:
  StoreKind(std::string url, const StoreOptions& options) : url_(std::move(url)), options_(options) {}

 protected:
  /// The key as it is kept. Throws for one that is empty or too long.
  std::string full(const std::string& key) const;
  void check_value(const std::string& key, const std::string& value) const;
  [[noreturn]] void fail(std::string_view key, std::string_view reason,
                         CommError::Kind kind = CommError::Kind::setup) const;
  /// get()'s key has not come.
  [[noreturn]] void fail_missing(std::string_view key, double seconds) const;

  const std::string url_;
  const StoreOptions options_;
  std::mutex mutex_;
};

/// The sum of a number kept as text and another; throws std::runtime_error when the text is none or the sum has no
/// place.
int64_t add_to_text(std::string_view text, int64_t number);

/// get() where a store cannot wait by itself: looks again and again, soon at first.
template <class Find>
std::optional<std::string> poll_for(const Find& find, double timeout) {
  const Deadline deadline(timeout);
  for (auto pause = std::chrono::milliseconds(1);; pause = std::min(2 * pause, std::chrono::milliseconds(50))) {
    if (auto value = find()) return value;
    if (deadline.passed()) return {};
    std::this_thread::sleep_for(std::min(pause, std::chrono::milliseconds(deadline.poll_ms())));
  }
}

Box<Store> open_tcp_store(const std::string& url, const StoreOptions& options);
Box<Store> open_file_store(const std::string& url, const StoreOptions& options);
Box<Store> open_redis_store(const std::string& url, const StoreOptions& options);

}  // namespace gradus::dist::detail
