// A store kept by a Redis server that a site runs anyway. Four commands of its protocol (RESP 2) over a plain socket; a
// token is the server's password. The server tells nobody of a client's end, so there is no will.
#include <charconv>
#include <optional>

#include <fmt/format.h>

#include <gradus/distributed/detail/store_kind.h>
#include <gradus/distributed/detail/store_socket.h>
#include <gradus/distributed/detail/store_wire.h>

namespace gradus::dist::detail {
namespace {

class RedisStore final : public StoreKind {
 public:
  RedisStore(const std::string& url, const StoreOptions& options);

  void set(const std::string& key, const std::string& value) override {
    check_value(key, value);
    command(key, {"SET", full(key), value});
  }
  std::string get(const std::string& key, double timeout) override;
  std::optional<std::string> find(const std::string& key) override { return command(key, {"GET", full(key)}); }
  int64_t add(const std::string& key, int64_t number) override;
  std::string set_once(const std::string& key, const std::string& value) override {
    check_value(key, value);
    command(key, {"SETNX", full(key), value});
    return find(key).value_or(value);
  }
  bool leave_will(const std::string&, const std::string&) override { return false; }
  void close() override {
    const std::lock_guard lock(mutex_);
    connection_.end();
    lost_ = "this store was closed";
  }

 private:
  /// The reply as text, or nothing for Redis' nil.
  std::optional<std::string> command(const std::string& key, std::initializer_list<std::string_view> words);
  std::optional<std::string> reply(const std::string& key, const Deadline& deadline);
  std::string line(const Deadline& deadline);
  std::string bytes(size_t count, const Deadline& deadline);
  void receive_more(const Deadline& deadline);

  Connection connection_;
  std::string received_;  // and not yet read
  std::string lost_;
};

RedisStore::RedisStore(const std::string& url, const StoreOptions& options) : StoreKind(url, options) {
  const Endpoint endpoint = Endpoint::of_url(url);
  if (endpoint.host.empty() || endpoint.port == 0) fail("", "want redis://host:port with a port from 1 to 65535");
  try {
    connection_ = Connection::open(endpoint, Deadline(options.timeout));
  } catch (const SocketError& error) {
    fail(
        "",
        fmt::format("no connection within {:g} s: {}; does the Redis server run there?", options.timeout, error.what()),
        CommError::Kind::timeout);
  }
  if (!options.token.empty()) command("", {"AUTH", options.token});
  command("", {"PING"});
}

std::optional<std::string> RedisStore::command(const std::string& key, std::initializer_list<std::string_view> words) {
  const std::lock_guard lock(mutex_);
  if (!connection_) fail(key, lost_, CommError::Kind::peer_lost);
  std::string request = fmt::format("*{}\r\n", words.size());
  for (const std::string_view word : words)
    fmt::format_to(std::back_inserter(request), "${}\r\n{}\r\n", word.size(), word);
  const Deadline deadline(options_.timeout);
  try {
    connection_.send(request, deadline);
    return reply(key, deadline);
  } catch (const SocketError& error) {
    connection_.end();  // a reply that comes late would be taken for that to the next command
    lost_ = fmt::format("{}; does the Redis server still run?", error.what());
    fail(key, lost_, error.timed_out ? CommError::Kind::timeout : CommError::Kind::peer_lost);
  }
}

std::optional<std::string> RedisStore::reply(const std::string& key, const Deadline& deadline) {
  const std::string head = line(deadline);
  const std::string rest = head.substr(std::min<size_t>(1, head.size()));
  switch (head.empty() ? '\0' : head[0]) {
    case '+':
    case ':': return rest;
    case '-': fail(key, fmt::format("the Redis server says: {}", rest));
    case '$': {
      int64_t size = 0;
      const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), size);
      if (error != std::errc() || end != rest.data() + rest.size() || size > static_cast<int64_t>(max_value)) break;
      if (size < 0) return {};
      std::string value = bytes(static_cast<size_t>(size) + 2, deadline);
      value.resize(value.size() - 2);
      return value;
    }
    default: break;
  }
  throw SocketError("its answer is not that of a Redis server");
}

std::string RedisStore::line(const Deadline& deadline) {
  size_t end;
  while ((end = received_.find("\r\n")) == received_.npos) {
    if (received_.size() > 4096) throw SocketError("its answer is not that of a Redis server");
    receive_more(deadline);
  }
  std::string text = received_.substr(0, end);
  received_.erase(0, end + 2);
  return text;
}

std::string RedisStore::bytes(size_t count, const Deadline& deadline) {
  while (received_.size() < count) receive_more(deadline);
  std::string text = received_.substr(0, count);
  received_.erase(0, count);
  return text;
}

void RedisStore::receive_more(const Deadline& deadline) {
  char buffer[16 << 10];
  received_.append(buffer, connection_.receive_some(buffer, sizeof buffer, deadline));
}

std::string RedisStore::get(const std::string& key, double timeout) {
  auto value = poll_for([&] { return find(key); }, timeout);
  if (!value) fail_missing(key, timeout);
  return std::move(*value);
}

int64_t RedisStore::add(const std::string& key, int64_t number) {
  const auto sum = command(key, {"INCRBY", full(key), std::to_string(number)});
  try {
    return add_to_text(sum.value_or(""), 0);
  } catch (const std::runtime_error&) {
    fail(key, "its answer is not that of a Redis server");
  }
}

}  // namespace

Box<Store> open_redis_store(const std::string& url, const StoreOptions& options) {
  return make_box<RedisStore>(url, options);
}

}  // namespace gradus::dist::detail
