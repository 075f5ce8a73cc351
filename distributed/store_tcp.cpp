// The client of a tcp:// store.
#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include <gradus/distributed/detail/store_kind.h>
#include <gradus/distributed/detail/store_socket.h>
#include <gradus/distributed/detail/store_wire.h>

namespace gradus::dist::detail {
namespace {

class TcpStore final : public StoreKind {
 public:
  TcpStore(const std::string& url, const StoreOptions& options);

  void set(const std::string& key, const std::string& value) override {
    check_value(key, value);
    call(Ask::set, key, {full(key), value});
  }
  std::string get(const std::string& key, double timeout) override;
  std::optional<std::string> find(const std::string& key) override { return call(Ask::find, key, {full(key)}); }
  int64_t add(const std::string& key, int64_t number) override;
  std::string set_once(const std::string& key, const std::string& value) override {
    check_value(key, value);
    return call(Ask::set_once, key, {full(key), value}).value_or(value);
  }
  bool leave_will(const std::string& key, const std::string& value) override {
    check_value(key, value);
    call(Ask::will, key, {full(key), value});
    return true;
  }
  void close() override;

 private:
  /// The answer's value, or nothing for Answer::none. The server has the options' timeout, or `waiting` seconds.
  std::optional<std::string> call(Ask ask, const std::string& key, std::initializer_list<std::string_view> fields,
                                  double waiting = -1);
  std::string receive_answer(const Deadline& deadline);
  void receive_until(size_t size, const Deadline& deadline);

  Connection connection_;
  std::string received_;  // and not yet read
  int owed_ = 0;          // answers that will come, also those that were waited for too long
  std::string lost_;      // why there is no connection any more
};

TcpStore::TcpStore(const std::string& url, const StoreOptions& options) : StoreKind(url, options) {
  const Endpoint endpoint = Endpoint::of_url(url);
  if (endpoint.host.empty() || endpoint.port == 0) fail("", "want tcp://host:port with a port from 1 to 65535");
  if (options.token.size() > max_token) fail("", fmt::format("a token of more than {} bytes", max_token));
  const Deadline deadline(options.timeout);
  try {
    connection_ = Connection::open(endpoint, deadline);
  } catch (const SocketError& error) {
    fail("",
         fmt::format("no connection within {:g} s: {}; is the job's launcher (or rank 0) running there, and the "
                     "port open?",
                     options.timeout, error.what()),
         CommError::Kind::timeout);
  }
  call(Ask::hello, "", {magic, options.token}, deadline.left());
}

/// Seconds by which our patience with a server that was told to wait outlasts its own.
constexpr double grace = 0.5;

std::optional<std::string> TcpStore::call(Ask ask, const std::string& key,
                                          std::initializer_list<std::string_view> fields, double waiting) {
  const std::lock_guard lock(mutex_);
  if (!connection_) fail(key, lost_, CommError::Kind::peer_lost);
  const Deadline deadline(waiting < 0 ? options_.timeout : waiting + grace);
  std::string answer;
  bool asked = false;
  try {
    connection_.send(message(ask, fields), deadline);
    asked = true;
    for (++owed_; owed_ > 0; --owed_) answer = receive_answer(deadline);
  } catch (const SocketError& error) {
    const std::string reason =
        fmt::format("{}; {}", error.what(),
                    ask == Ask::hello ? "is that the job's store? A server of something else ends such a connection"
                                      : "the launcher, or rank 0 that serves the store, may have ended");
    // A server that is late is not gone: to hang up would carry out the will.
    if (asked && error.timed_out) fail(key, reason, CommError::Kind::timeout);
    connection_.end();
    lost_ = reason;
    fail(key, reason, error.timed_out ? CommError::Kind::timeout : CommError::Kind::peer_lost);
  }
  const auto kind = static_cast<Answer>(answer[0]);
  if (kind == Answer::none) return {};
  if (kind == Answer::refused) fail(key, std::string_view(answer).substr(1));
  return answer.substr(1);
}

std::string TcpStore::receive_answer(const Deadline& deadline) {
  receive_until(header_size, deadline);
  const size_t length = read_length(received_);
  if (length < 1 || length > max_message) throw SocketError("its answer is not that of a store");
  receive_until(header_size + length, deadline);
  const std::string body = received_.substr(header_size, length);
  received_.erase(0, header_size + length);
  std::string_view rest = std::string_view(body).substr(1);
  const auto kind = static_cast<Answer>(body[0]);
  const auto value = take_field(rest);
  if (kind < Answer::done || kind > Answer::refused || !value || !rest.empty())
    throw SocketError("its answer is not that of a store");
  return body.substr(0, 1).append(*value);
}

// What has come stays when the deadline passes in the middle of an answer.
void TcpStore::receive_until(size_t size, const Deadline& deadline) {
  char buffer[16 << 10];
  while (received_.size() < size) received_.append(buffer, connection_.receive_some(buffer, sizeof buffer, deadline));
}

std::string TcpStore::get(const std::string& key, double timeout) {
  const double seconds = timeout > 0 ? std::min(timeout, 1e6) : 0;
  const std::string milliseconds = std::to_string(static_cast<int64_t>(seconds * 1e3));
  auto value = call(Ask::get, key, {full(key), milliseconds}, seconds);
  if (!value) fail_missing(key, seconds);
  return std::move(*value);
}

int64_t TcpStore::add(const std::string& key, int64_t number) {
  const auto sum = call(Ask::add, key, {full(key), std::to_string(number)});
  try {
    return add_to_text(sum.value_or(""), 0);
  } catch (const std::runtime_error&) {
    fail(key, "its answer is not that of a store");
  }
}

void TcpStore::close() {
  try {
    call(Ask::close, "", {});
  } catch (const CommError&) {  // the connection is gone already
  }
  const std::lock_guard lock(mutex_);
  connection_.end();
  lost_ = "this store was closed";
}

}  // namespace

Box<Store> open_tcp_store(const std::string& url, const StoreOptions& options) {
  return make_box<TcpStore>(url, options);
}

}  // namespace gradus::dist::detail
