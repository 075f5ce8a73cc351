// TCP as the stores need it: names resolved, connecting tried until a deadline, calls that end by one. The failures
// know nothing of stores and keys; who catches them does.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include <gradus/core/api.h>
#include <gradus/distributed/detail/deadline.h>
#include <gradus/distributed/detail/fd.h>

struct addrinfo;

namespace gradus::dist::detail {

struct SocketError : std::runtime_error {
  explicit SocketError(const std::string& message, bool timed_out_ = false)
      : std::runtime_error(message), timed_out(timed_out_) {}
  bool timed_out;
};

struct GRADUS_API Endpoint {
  std::string host;
  int port = 0;
  /// "host:port" or "[::1]:port"; nothing else.
  static bool parse(std::string_view text, Endpoint& endpoint);
  /// Of a "tcp://host:port" or "redis://host:port"; an empty host for anything else.
  static Endpoint of_url(std::string_view url);
};

/// The addresses of a host (empty: of any interface, or of this machine). `flags` as getaddrinfo has them.
class Addresses {
 public:
  Addresses(const Endpoint& endpoint, int flags);
  Addresses(const Addresses&) = delete;
  Addresses& operator=(const Addresses&) = delete;
  ~Addresses();
  const addrinfo* begin() const { return first_; }

 private:
  addrinfo* first_ = nullptr;
};

class Connection {
 public:
  Connection() = default;
  /// Tries again until the deadline: a server, or its name, may only come.
  static Connection open(const Endpoint& endpoint, const Deadline& deadline);

  explicit operator bool() const { return static_cast<bool>(fd_); }
  void send(std::string_view bytes, const Deadline& deadline) const;
  /// At least one byte and at most `size`; how many.
  size_t receive_some(char* bytes, size_t size, const Deadline& deadline) const;
  void end() { fd_.reset(); }

 private:
  Fd fd_;
};

/// What any connection of a store has: small messages go at once, and a machine that is gone without a word is noticed
/// within about ten seconds.
void configure(int socket);

}  // namespace gradus::dist::detail
