// TCP ports of the loopback that tests give to servers.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "catch.h"

#include <gradus/distributed/detail/fd.h>

inline sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// Nobody else is given this port while the object lives: it is bound here, and only who asks for it by its number,
/// with SO_REUSEADDR as servers do, can bind it, too, and listen. Until one does, it refuses connections.
class FreePort {
 public:
  FreePort() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int yes = 1;
    REQUIRE(setsockopt(fd_.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0);
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    REQUIRE(bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    number_ = ntohs(address.sin_port);
  }
  int number() const { return number_; }
  /// From now on connections are taken, and nobody says anything.
  void listen_only() const { REQUIRE(listen(fd_.get(), 8) == 0); }

 private:
  const gradus::dist::detail::Fd fd_;
  int number_ = 0;
};
