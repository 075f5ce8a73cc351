// The server of a tcp:// store: one thread, one poll() over all connections, none of which can make another wait. What
// comes in is hostile: lengths are bounded before anything is kept, and who does not say the token is sent away.
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <list>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include <fmt/format.h>

#include <gradus/core/error.h>
#include <gradus/distributed/detail/quiet_thread.h>
#include <gradus/distributed/detail/store_kind.h>
#include <gradus/distributed/detail/store_socket.h>
#include <gradus/distributed/detail/store_wire.h>
#include <gradus/distributed/store.h>

namespace gradus::dist {
namespace {

using namespace detail;

/// Seconds that a connection may take to say who it is.
constexpr double introduction = 10;

/// Takes as long for any guess of the token.
bool same_token(std::string_view guess, std::string_view token) {
  unsigned difference = guess.size() != token.size();
  for (size_t i = 0; i < max_token; ++i) {
    const auto a = i < guess.size() ? static_cast<unsigned char>(guess[i]) : 0u;
    const auto b = i < token.size() ? static_cast<unsigned char>(token[i]) : 0u;
    difference |= a ^ b;
  }
  return difference == 0;
}

struct Waiting {
  std::string key;
  Deadline until;
};

struct Client {
  explicit Client(Fd socket) : fd(std::move(socket)) {}

  Fd fd;
  std::string in, out;
  bool known = false, in_order = false, ended = false;
  Deadline introduce{introduction};
  std::optional<Waiting> waiting;
  std::optional<std::pair<std::string, std::string>> will;

  /// Whether the next request may be looked at: one after the other.
  bool is_free() const { return !waiting && out.empty() && !ended; }
  /// Whether it has come already, as it may while the one before waits.
  bool has_request() const {
    return is_free() && in.size() >= header_size && in.size() - header_size >= read_length(in);
  }
};

}  // namespace

struct StoreServer::State {
  State(const std::string& host, int port, std::string secret);
  ~State() { end(0); }

  void end(double patience);
  void run();
  bool is_used() const;
  double next_deadline() const;
  void accept_all();
  bool make_room();
  void serve(Client& client, short events);
  void receive(Client& client);
  void flush(Client& client);
  void handle_requests(Client& client);
  void handle(Client& client, Ask ask, std::string_view fields);
  void introduce(Client& client, Ask ask, std::string_view fields);
  void answer(Client& client, Answer kind, std::string_view value = {});
  void write(const std::string& key, std::string_view value);
  void expire();
  void bury();

  Fd listener, wake;
  int port = 0;
  std::string token;
  std::unordered_map<std::string, std::string> values;
  std::list<Client> clients;  // the oldest first
  Deadline accept_again{0};
  std::optional<Deadline> last_call;  // set before `wake`: until then those who are still there are served
  std::thread thread;
};

namespace {

/// A listening socket, or nothing with the reason in errno.
Fd listen_at(const addrinfo& address) {
  Fd fd(socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int yes = 1;
  const bool listens = fd && setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
                       bind(fd.get(), address.ai_addr, address.ai_addrlen) == 0 && listen(fd.get(), SOMAXCONN) == 0;
  return listens ? std::move(fd) : Fd();
}

Fd listen_on(const std::string& host, int port) {
  std::string reason;
  try {
    const Addresses addresses({host, port}, AI_PASSIVE);
    for (const addrinfo* address = addresses.begin(); address; address = address->ai_next)
      if (Fd fd = listen_at(*address)) return fd;
    reason = std::strerror(errno);
  } catch (const SocketError& error) {
    reason = error.what();
  }
  throw CommError(fmt::format("store tcp://{}:{}: cannot listen there: {}; choose another port, or 0 for a free one",
                              host, port, reason));
}

int port_of(const Fd& socket) {
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &size);
  return ntohs(own.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(own).sin6_port
                                         : reinterpret_cast<const sockaddr_in&>(own).sin_port);
}

}  // namespace

StoreServer::State::State(const std::string& host, int wanted_port, std::string secret) : token(std::move(secret)) {
  if (wanted_port < 0 || wanted_port > 65535)
    throw CommError(fmt::format("StoreServer: port {}; want 0 to 65535", wanted_port));
  if (token.size() > max_token) throw CommError(fmt::format("StoreServer: a token of more than {} bytes", max_token));
  listener = listen_on(host, wanted_port);
  port = port_of(listener);
  wake = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) throw CommError(fmt::format("StoreServer: eventfd: {}", std::strerror(errno)));
  thread = quiet_thread([this] { run(); });
}

void StoreServer::State::end(double patience) {
  if (!thread.joinable()) return;
  last_call = Deadline(patience);
  const uint64_t one = 1;
  while (::write(wake.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
  thread.join();
}

void StoreServer::State::run() {
  bool is_ending = false;
  for (std::vector<pollfd> polled; !is_ending || (is_used() && !last_call->passed());) {
    polled.clear();
    polled.push_back({wake.get(), POLLIN, 0});
    polled.push_back({accept_again.passed() ? listener.get() : -1, POLLIN, 0});
    for (const Client& client : clients) {
      const short more = !client.out.empty() ? POLLOUT : client.is_free() ? POLLIN : 0;
      polled.push_back({client.fd.get(), static_cast<short>(POLLRDHUP | more), 0});
    }
    const double patience = is_ending ? std::min(next_deadline(), last_call->left()) : next_deadline();
    if (poll(polled.data(), polled.size(), Deadline(patience).poll_ms()) < 0) continue;
    uint64_t ones = 0;
    is_ending = is_ending || ::read(wake.get(), &ones, sizeof ones) > 0;
    auto ready = polled.begin() + 2;
    for (Client& client : clients) serve(client, (ready++)->revents);
    expire();
    bury();
    if (polled[1].revents) accept_all();
  }
  clients.clear();
  listener.reset();
}

bool StoreServer::State::is_used() const {
  return std::any_of(clients.begin(), clients.end(), [](const Client& client) { return client.known; });
}

double StoreServer::State::next_deadline() const {
  double seconds = accept_again.passed() ? 3600 : accept_again.left();
  for (const Client& client : clients) {
    if (client.ended || client.has_request()) return 0;
    if (client.waiting) seconds = std::min(seconds, client.waiting->until.left());
    if (!client.known) seconds = std::min(seconds, client.introduce.left());
  }
  return seconds;
}

void StoreServer::State::accept_all() {
  for (;;) {
    Fd fd(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      configure(fd.get());
      clients.emplace_back(std::move(fd));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    const bool exhausted = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    if (!exhausted) return;
    if (make_room()) continue;
    accept_again = Deadline(0.1);  // the process has no descriptors left: the others are served meanwhile
    return;
  }
}

/// Sends the stranger away who has been here longest.
bool StoreServer::State::make_room() {
  for (auto client = clients.begin(); client != clients.end(); ++client)
    if (!client->known) {
      clients.erase(client);
      return true;
    }
  return false;
}

void StoreServer::State::serve(Client& client, short events) {
  if (client.ended) return;
  if (events != 0 && !client.out.empty()) {
    flush(client);
  } else if (events != 0 && client.is_free()) {
    receive(client);
  }
  handle_requests(client);
  // One who hangs up before he has his answer does not want it.
  if (!client.is_free() && (events & (POLLRDHUP | POLLHUP | POLLERR))) client.ended = true;
}

void StoreServer::State::receive(Client& client) {
  char buffer[64 << 10];
  for (int rounds = 0; rounds < 16; ++rounds) {  // then it is the others' turn
    const ssize_t received = recv(client.fd.get(), buffer, sizeof buffer, 0);
    if (received > 0) {
      client.in.append(buffer, static_cast<size_t>(received));
      if (!client.known && client.in.size() > header_size + max_hello) return;  // a hello was in it, or none comes
    } else if (received == 0 || (errno != EAGAIN && errno != EINTR)) {
      handle_requests(client);  // what came before the end
      client.ended = true;
      return;
    } else if (errno == EAGAIN) {
      return;
    }
  }
}

void StoreServer::State::flush(Client& client) {
  size_t sent = 0;
  while (sent < client.out.size()) {
    const ssize_t n = send(client.fd.get(), client.out.data() + sent, client.out.size() - sent, MSG_NOSIGNAL);
    if (n >= 0) {
      sent += static_cast<size_t>(n);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      sent = client.out.size();  // nobody is there to take it; but his last request may be his farewell
    }
  }
  client.out.erase(0, sent);
}

void StoreServer::State::handle_requests(Client& client) {
  while (client.is_free() && client.in.size() >= header_size) {
    const size_t length = read_length(client.in);
    if (length < 1 || length > (client.known ? max_message : max_hello)) {
      client.ended = true;
      return;
    }
    if (client.in.size() - header_size < length) return;
    const std::string request = client.in.substr(header_size, length);
    client.in.erase(0, header_size + length);
    const auto ask = static_cast<Ask>(request[0]);
    const std::string_view fields = std::string_view(request).substr(1);
    client.known ? handle(client, ask, fields) : introduce(client, ask, fields);
  }
}

void StoreServer::State::introduce(Client& client, Ask ask, std::string_view fields) {
  const auto word = take_field(fields), guess = take_field(fields);
  if (ask != Ask::hello || word != magic || !guess) {
    client.ended = true;
  } else if (same_token(*guess, token)) {
    client.known = true;
    answer(client, Answer::done);
  } else {
    answer(client, Answer::refused, "it refuses the token; the job's launcher gives GRADUS_STORE_TOKEN to its workers");
    client.ended = true;
  }
}

void StoreServer::State::handle(Client& client, Ask ask, std::string_view fields) {
  const std::string key(take_field(fields).value_or(""));
  const std::string_view value = take_field(fields).value_or("");
  if (ask == Ask::close) {
    client.in_order = true;
    return answer(client, Answer::done);
  }
  if (key.empty() || key.size() > max_key || value.size() > max_value || !fields.empty()) {
    client.ended = true;
    return;
  }
  const auto found = values.find(key);
  switch (ask) {
    case Ask::set: answer(client, Answer::done); return write(key, value);
    case Ask::find:
      return found == values.end() ? answer(client, Answer::none) : answer(client, Answer::done, found->second);
    case Ask::get: {
      if (found != values.end()) return answer(client, Answer::done, found->second);
      int64_t milliseconds = 0;
      std::from_chars(value.data(), value.data() + value.size(), milliseconds);
      client.waiting = Waiting{key, Deadline(static_cast<double>(milliseconds) * 1e-3)};
      return;
    }
    case Ask::add: {
      try {
        const int64_t number = add_to_text(value, 0);
        const std::string sum = std::to_string(add_to_text(found == values.end() ? "0" : found->second, number));
        answer(client, Answer::done, sum);
        write(key, sum);
      } catch (const std::runtime_error& error) {
        answer(client, Answer::refused, error.what());
      }
      return;
    }
    case Ask::set_once:
      if (found != values.end()) return answer(client, Answer::done, found->second);
      answer(client, Answer::done, value);
      return write(key, value);
    case Ask::will: client.will = {key, std::string(value)}; return answer(client, Answer::done);
    default: client.ended = true;
  }
}

void StoreServer::State::answer(Client& client, Answer kind, std::string_view value) {
  client.out += message(kind, {value});
  flush(client);
}

/// Sets a key and answers those who wait for it.
void StoreServer::State::write(const std::string& key, std::string_view value) {
  values[key] = value;
  for (Client& client : clients)
    if (client.waiting && client.waiting->key == key && !client.ended) {
      client.waiting.reset();
      answer(client, Answer::done, value);
    }
}

void StoreServer::State::expire() {
  for (Client& client : clients) {
    if (!client.known && client.introduce.passed()) client.ended = true;
    if (client.waiting && client.waiting->until.passed()) {
      client.waiting.reset();
      answer(client, Answer::none);
    }
  }
}

/// Takes those out that ended, and carries out their wills.
void StoreServer::State::bury() {
  for (auto client = clients.begin(); client != clients.end();) {
    if (!client->ended) {
      ++client;
      continue;
    }
    const auto will = client->in_order ? std::nullopt : std::move(client->will);
    client = clients.erase(client);
    if (will && !values.contains(will->first)) write(will->first, will->second);
  }
}

StoreServer::StoreServer(const std::string& host, int port, std::string token)
    : state_(make_box<State>(host, port, std::move(token))) {}
StoreServer::~StoreServer() = default;
int StoreServer::port() const { return state_->port; }
void StoreServer::finish(double seconds) { state_->end(seconds); }

}  // namespace gradus::dist
