// Asks the kernel by which address a host would be reached: a connected UDP socket knows, and sends nothing.
#include <gradus/distributed/detail/address.h>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdlib>
#include <memory>

#include <fmt/format.h>

#include <gradus/core/error.h>
#include <gradus/distributed/detail/store_socket.h>

namespace gradus::dist::detail {
namespace {

std::string text_of(const sockaddr* address) {
  char text[NI_MAXHOST];
  const socklen_t size = address->sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  return getnameinfo(address, size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0 ? text : "";
}

bool is_loopback(const std::string& address) { return address.starts_with("127.") || address == "::1"; }

std::string address_of_interface(const std::string& name) {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) throw CommError("cannot list the network interfaces of this machine");
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(list, &freeifaddrs);
  std::string found, names;
  for (const ifaddrs* i = list; i; i = i->ifa_next) {
    if (!i->ifa_addr || (i->ifa_flags & IFF_UP) == 0) continue;
    const int family = i->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    names += fmt::format("{}{} {}", names.empty() ? "" : ", ", i->ifa_name, text_of(i->ifa_addr));
    if (name == i->ifa_name && (found.empty() || family == AF_INET)) found = text_of(i->ifa_addr);
  }
  if (found.empty())
    throw CommError(fmt::format("GRADUS_SOCKET_IFNAME={}: no such interface is up; there are: {}", name, names));
  return found;
}

// The own end of the way to `host`; empty when there is no way.
std::string address_towards(const std::string& host) try {
  constexpr int any_port = 9;
  const Addresses addresses({host, any_port}, 0);
  for (const addrinfo* i = addresses.begin(); i; i = i->ai_next) {
    const Fd fd(socket(i->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    auto* const address = reinterpret_cast<sockaddr*>(&own);
    if (fd && connect(fd.get(), i->ai_addr, i->ai_addrlen) == 0 && getsockname(fd.get(), address, &size) == 0)
      return text_of(address);
  }
  return "";
} catch (const SocketError&) {
  return "";
}

}  // namespace

std::string own_address(const Env& env) {
  if (const char* name = std::getenv("GRADUS_SOCKET_IFNAME"); name && *name) return address_of_interface(name);
  const bool one_machine = env.local_size == env.size;
  const std::string host = Endpoint::of_url(env.store).host;
  const std::string towards_store = host.empty() ? "" : address_towards(host);
  if (!towards_store.empty() && (one_machine || !is_loopback(towards_store))) return towards_store;
  if (one_machine) return "127.0.0.1";
  // The store's host is this machine, or a folder. 192.0.2.1 is nobody's (RFC 5737): the default route leads there.
  const std::string outwards = address_towards("192.0.2.1");
  if (outwards.empty())
    throw CommError("no network interface leads out of this machine; name the one to use by GRADUS_SOCKET_IFNAME");
  return outwards;
}

}  // namespace gradus::dist::detail
