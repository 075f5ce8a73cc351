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

[[noreturn]] void fail_nonsense() { throw SocketError("its answer is not that of a Redis server"); }

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
    closed_ = true;
  }

 private:
  struct Reply {
    char kind;  // the first byte
    std::optional<std::string> text;
  };
  /// The reply as text, or nothing for Redis' nil.
  std::optional<std::string> command(const std::string& key, std::initializer_list<std::string_view> words);
  void connect(const Deadline& deadline);
  std::optional<std::string> ask(const std::string& key, std::initializer_list<std::string_view> words,
                                 const Deadline& deadline);
  Reply receive_reply(const Deadline& deadline);
  size_t find_line_end(const Deadline& deadline);
  void receive_more(const Deadline& deadline);

  Endpoint endpoint_;
  Connection connection_;
  std::string received_;  // and not yet read
  int owed_ = 0;          // replies that will come, also those that were waited for too long
  bool closed_ = false;
};

RedisStore::RedisStore(const std::string& url, const StoreOptions& options)
    : StoreKind(url, options), endpoint_(Endpoint::of_url(url)) {
  if (endpoint_.host.empty() || endpoint_.port == 0) fail("", "want redis://host:port with a port from 1 to 65535");
  command("", {"PING"});
}

// What was lost is opened again by the next command: the server may have been started anew.
std::optional<std::string> RedisStore::command(const std::string& key, std::initializer_list<std::string_view> words) {
  const std::lock_guard lock(mutex_);
  if (closed_) fail(key, "this store was closed", CommError::Kind::peer_lost);
  const Deadline deadline(options_.timeout);
  if (!connection_) connect(deadline);
  return ask(key, words, deadline);
}

void RedisStore::connect(const Deadline& deadline) {
  received_.clear();
  owed_ = 0;
  try {
    connection_ = Connection::open(endpoint_, deadline);
  } catch (const SocketError& error) {
    fail("",
         fmt::format("no connection within {:g} s: {}; does the Redis server run there?", options_.timeout,
                     error.what()),
         CommError::Kind::timeout);
  }
  if (!options_.token.empty()) ask("", {"AUTH", options_.token}, deadline);
}

std::optional<std::string> RedisStore::ask(const std::string& key, std::initializer_list<std::string_view> words,
                                           const Deadline& deadline) {
  std::string request = fmt::format("*{}\r\n", words.size());
  for (const std::string_view word : words)
    fmt::format_to(std::back_inserter(request), "${}\r\n{}\r\n", word.size(), word);
  Reply reply{};
  bool asked = false;
  try {
    connection_.send(request, deadline);
    asked = true;
    for (++owed_; owed_ > 0; --owed_) reply = receive_reply(deadline);
  } catch (const SocketError& error) {
    const std::string reason = fmt::format("{}; does the Redis server still run?", error.what());
    if (asked && error.timed_out) fail(key, reason, CommError::Kind::timeout);  // late, not gone
    connection_.end();
    fail(key, reason, error.timed_out ? CommError::Kind::timeout : CommError::Kind::peer_lost);
  }
  if (reply.kind == '-') fail(key, fmt::format("the Redis server says: {}", *reply.text));
  return reply.text;
}

// Takes nothing from what was received until all of the reply is there: the deadline may pass in the middle of it.
RedisStore::Reply RedisStore::receive_reply(const Deadline& deadline) {
  const size_t line_end = find_line_end(deadline);
  Reply reply{received_[0], received_.substr(1, line_end - 1)};
  size_t end = line_end + 2;
  if (reply.kind == '$') {
    int64_t size = 0;
    const char* const last = reply.text->data() + reply.text->size();
    const auto [digits_end, error] = std::from_chars(reply.text->data(), last, size);
    if (error != std::errc() || digits_end != last || size > static_cast<int64_t>(max_value)) fail_nonsense();
    reply.text.reset();
    if (size >= 0) {
      end += static_cast<size_t>(size) + 2;
      while (received_.size() < end) receive_more(deadline);
      reply.text = received_.substr(line_end + 2, static_cast<size_t>(size));
    }
  } else if (reply.kind != '+' && reply.kind != ':' && reply.kind != '-') {
    fail_nonsense();
  }
  received_.erase(0, end);
  return reply;
}

size_t RedisStore::find_line_end(const Deadline& deadline) {
  for (;;) {
    if (const size_t end = received_.find("\r\n"); end != received_.npos) return end;
    if (received_.size() > 4096) fail_nonsense();
    receive_more(deadline);
  }
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
