// Non-blocking sockets and poll(): no call outlives its deadline, whatever the other side does.
#include <gradus/distributed/detail/store_socket.h>

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include <fmt/format.h>

namespace gradus::dist::detail {
namespace {

/// False when the deadline passed first.
bool wait_for(int socket, short events, const Deadline& deadline) {
  for (;;) {
    pollfd wanted{socket, events, 0};
    const int ready = poll(&wanted, 1, deadline.poll_ms());
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) throw SocketError(fmt::format("poll: {}", std::strerror(errno)));
    if (deadline.passed()) return false;
  }
}

[[noreturn]] void fail_late() { throw SocketError("it does not answer", true); }

/// A port of this machine that nobody listens on can be given to the very socket that tries it, which then talks to
/// itself.
bool is_connected_to_itself(int socket) {
  sockaddr_storage own{}, peer{};
  socklen_t own_size = sizeof own, peer_size = sizeof peer;
  return getsockname(socket, reinterpret_cast<sockaddr*>(&own), &own_size) == 0 &&
         getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0 && own_size == peer_size &&
         std::memcmp(&own, &peer, own_size) == 0;
}

/// One try; nothing, and the reason, when it fails.
Fd connect_once(const addrinfo& address, const Deadline& deadline, std::string& reason) {
  Fd fd(socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  int error = fd ? 0 : errno;
  if (fd && connect(fd.get(), address.ai_addr, address.ai_addrlen) != 0) {
    error = errno;
    if (error == EINPROGRESS || error == EINTR) {
      error = ETIMEDOUT;
      if (wait_for(fd.get(), POLLOUT, deadline)) {
        socklen_t size = sizeof error;
        if (getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
      }
    }
  }
  if (error == 0 && is_connected_to_itself(fd.get())) error = ECONNREFUSED;
  if (error == 0) return fd;
  reason = std::strerror(error);
  return {};
}

}  // namespace

bool Endpoint::parse(std::string_view text, Endpoint& endpoint) {
  const size_t colon = text.rfind(':');
  if (colon == text.npos || colon == 0) return false;
  std::string_view host = text.substr(0, colon), port = text.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != host.npos) {
    return false;
  }
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  if (error != std::errc() || end != port.data() + port.size() || endpoint.port < 0 || endpoint.port > 65535)
    return false;
  endpoint.host = host;
  return true;
}

Endpoint Endpoint::of_url(std::string_view url) {
  const size_t scheme = url.find("://");
  Endpoint endpoint;
  if (scheme == url.npos || !parse(url.substr(scheme + 3), endpoint)) return {};
  return endpoint;
}

Addresses::Addresses(const Endpoint& endpoint, int flags) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = flags | AI_NUMERICSERV;
  const char* const host = endpoint.host.empty() ? nullptr : endpoint.host.c_str();
  const int error = getaddrinfo(host, std::to_string(endpoint.port).c_str(), &wanted, &first_);
  if (error != 0)
    throw SocketError(fmt::format("the name {} is not known here ({})", endpoint.host,
                                  error == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(error)));
}
Addresses::~Addresses() { freeaddrinfo(first_); }

void configure(int socket) {
  const auto set = [socket](int level, int option, int value) {
    setsockopt(socket, level, option, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 4);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 2);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 10'000);
}

Connection Connection::open(const Endpoint& endpoint, const Deadline& deadline) {
  std::string reason;
  for (int pause_ms = 10;; pause_ms = std::min(2 * pause_ms, 500)) {
    try {
      const Addresses addresses(endpoint, 0);
      for (const addrinfo* address = addresses.begin(); address; address = address->ai_next) {
        Connection connection;
        connection.fd_ = connect_once(*address, deadline, reason);
        if (!connection) continue;
        configure(connection.fd_.get());
        return connection;
      }
    } catch (const SocketError& error) {  // names of a cluster's service come a little after its processes
      reason = error.what();
    }
    if (deadline.passed()) throw SocketError(reason, true);
    poll(nullptr, 0, std::min(pause_ms, deadline.poll_ms()));
  }
}

void Connection::send(std::string_view bytes, const Deadline& deadline) const {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      if (!wait_for(fd_.get(), POLLOUT, deadline)) fail_late();
    } else if (errno != EINTR) {
      throw SocketError(fmt::format("the connection is lost ({})", std::strerror(errno)));
    }
  }
}

size_t Connection::receive_some(char* bytes, size_t size, const Deadline& deadline) const {
  for (;;) {
    const ssize_t received = recv(fd_.get(), bytes, size, 0);
    if (received > 0) return static_cast<size_t>(received);
    if (received == 0) throw SocketError("it closed the connection");
    if (errno == EAGAIN) {
      if (!wait_for(fd_.get(), POLLIN, deadline)) fail_late();
    } else if (errno != EINTR) {
      throw SocketError(fmt::format("the connection is lost ({})", std::strerror(errno)));
    }
  }
}

}  // namespace gradus::dist::detail
